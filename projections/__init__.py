"""What readers see: folds of domain events. Disposable, never a source of truth."""
