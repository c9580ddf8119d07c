"""What must hold in every world: checked at every step, and when the world has come to rest."""
