"""Ranks that find each other anew when torchrun has started them again.

torchrun's agent offers its ranks one key-value store and keeps it, keys and all, through restarts (torch
2.13; pytorch issue 135712 tells the story). A new rank may so read the address of a dead one, and fail or
wait for ever. The count of restarts that ranks are given cannot tell them apart, for agents on several
machines count for themselves. So rank 0 draws a name for the rendezvous, and the others learn it by a
handshake that nothing old fits.
"""

from __future__ import annotations

import os
import time
import uuid
from datetime import timedelta
from typing import Any

from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from mobileone.errors import TrainingError

POLL_S = 0.02
PATIENCE_S = 600.0


def agent_store(rank: int, world_size: int) -> Any:
    """A store that no earlier ranks have written to, or None where torchrun's agent offers none.

    Raises:
        TrainingError: if the other ranks do not come.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=PATIENCE_S))
    return PrefixStore(rendezvous_name(store, rank, world_size), store)


def rendezvous_name(store: Any, rank: int, world_size: int, *, patience_s: float = PATIENCE_S) -> str:
    """A name that the present ranks have in common, and no earlier ones had.

    Every rank but 0 keeps a password of its own on its place in the store until it finds an answer under it;
    rank 0 answers whatever password stands there, also a dead rank's, until each rank has confirmed the name.

    Args:
        store: shared by the ranks; may hold anything from earlier ones.
        rank: 0 to world_size − 1.
        world_size: number of ranks.
        patience_s: how long to wait for the others.

    Raises:
        TrainingError: if they do not come.

    >>> from torch.distributed import HashStore
    >>> len(rendezvous_name(HashStore(), 0, 1))
    32
    """
    deadline = time.monotonic() + patience_s
    own = uuid.uuid4().hex
    missing = set(range(1, world_size)) if rank == 0 else {0}
    while missing:
        if rank == 0:
            for other in sorted(missing):
                if store.check([f"rendezvous/password/{other}"]):
                    store.set(f"rendezvous/answer/{store.get(f'rendezvous/password/{other}').decode()}", own)
            missing = {other for other in missing if not store.check([f"rendezvous/{own}/{other}"])}
        else:
            store.set(f"rendezvous/password/{rank}", own)
            if store.check([f"rendezvous/answer/{own}"]):
                name: str = store.get(f"rendezvous/answer/{own}").decode()
                store.set(f"rendezvous/{name}/{rank}", "here")
                return name
        if missing and time.monotonic() > deadline:
            raise TrainingError(
                f"rank {rank} waited {patience_s:.0f} s in vain for rank {min(missing)} to start; "
                "look for its error in the log of its machine"
            )
        time.sleep(POLL_S if missing else 0)
    return own
