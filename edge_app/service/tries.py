"""How often a file cost a worker, or the whole service, over restarts: a poison file is tried three times and no more."""

from collections.abc import Sequence

from limiar.edge_app.store.writer import Store

MOST = 3


class StoredTries:
    """The store's count of tries for each file that is in a worker's hands: the Tries of scan/pool.py."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts = store.left()  # of files in hand when the last service ended without a word
        store.commit()

    def begin(self, paths: Sequence[bytes]) -> None:
        """They are given to a worker; that is on the disk before it happens."""
        self._store.begin(paths)
        self._store.commit()

    def over(self, paths: Sequence[bytes]) -> None:
        """A worker is done with these, though their outcomes are perhaps not kept yet; on the disk with the next `begin`."""
        self._store.over(paths)

    def lost(self, paths: Sequence[bytes]) -> None:
        """A worker was lost that had these."""
        for path in paths:
            self._counts[path] = self._counts.get(path, 0) + 1
        self._store.tried(paths)

    def of(self, path: bytes) -> int:
        """How many tries of a file were lost."""
        return self._counts.get(path, 0)

    def ended(self, path: bytes) -> None:
        """It has an answer, was refused, or is gone."""
        self._counts.pop(path, None)
        self._store.ended(path)

    def given_back(self) -> None:
        """The service ends in order, with files in hand."""
        self._store.given_back()
