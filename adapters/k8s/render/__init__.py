"""From what is wanted to the objects of a cluster: pure, and in the form it stores."""
