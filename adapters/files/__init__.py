"""Files on the disk of this host that outlive a power cut: head file, snapshots, the secret key."""
