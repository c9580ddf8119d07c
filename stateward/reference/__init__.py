"""Pages of reference, each made from the code that it describes."""
