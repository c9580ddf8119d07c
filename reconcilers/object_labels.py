"""The labels by which an object says whose it is; the same words as on every engine."""

from typing import Final

INSTALLATION: Final = "stateward/installation"
TARGET: Final = "stateward/target"  # two targets may be one cluster, and neither sees the other's
PROJECT: Final = "stateward/project"
APP: Final = "stateward/app"
UID: Final = "stateward/uid"
REVISION: Final = "stateward/revision"
DIGEST: Final = "stateward/digest"  # of the object as it was sent
POSITION: Final = "stateward/position"  # the head of the log when it was sent; never compared
ADOPTED: Final = "stateward/adopted"  # it was somebody else's, and taken over as it was
PART_OF: Final = "applyset.kubernetes.io/part-of"  # the set within which strays are pruned
