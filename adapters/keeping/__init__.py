"""Programs that outlive the control plane: who starts them, waits for them and keeps their logs."""
