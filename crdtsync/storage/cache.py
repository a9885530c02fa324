"""The bounded cache of clean rows: two generations, the older one dropped whole when the younger is full."""

from __future__ import annotations

ROW_OVERHEAD = 150  # bytes, about, that Python needs for a row besides its key and image


class Cache:
    """Images by row key; None is a row known to be absent.  `bytes_max` bounds both generations together."""

    __slots__ = ("_old", "_old_bytes", "_young", "_young_bytes", "bytes_max")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._young: dict[bytes, bytes | None] = {}
        self._old: dict[bytes, bytes | None] = {}
        self._young_bytes = self._old_bytes = 0

    @property
    def size(self) -> int:
        """Bytes held, about."""
        return self._young_bytes + self._old_bytes

    @property
    def generations(self) -> tuple[dict[bytes, bytes | None], dict[bytes, bytes | None]]:
        """Both, to look in without bringing anything to the younger one."""
        return self._young, self._old

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: bytes, absent: bytes | None) -> bytes | None:
        """The image, or `absent` when nothing is known of the row."""
        image = self._young.get(key, absent)
        if image is absent:
            image = self._old.get(key, absent)
            if image is not absent:
                self.put(key, image)
        return image

    def put(self, key: bytes, image: bytes | None) -> None:
        """Remember a row of the table."""
        if key not in self._young:
            self._make_room(len(key) + len(image or b"") + ROW_OVERHEAD)
        self._young[key] = image

    def put_many(self, rows: dict[bytes, bytes | None]) -> None:
        """Remember rows of the table that it has nothing of; not when they are more than one generation."""
        size = sum(map(len, rows)) + sum(map(len, filter(None, rows.values()))) + ROW_OVERHEAD * len(rows)
        if 2 * size <= self.bytes_max:
            self._make_room(size)
            self._young.update(rows)

    def _make_room(self, size: int) -> None:
        if 2 * (self._young_bytes + size) > self.bytes_max:
            self._old, self._old_bytes = self._young, self._young_bytes
            self._young, self._young_bytes = {}, 0
        self._young_bytes += size

    def replace(self, rows: dict[bytes, bytes | None], size: int) -> None:
        """Rows that a checkpoint has just written, `size` bytes of keys and images: what was known of them is old."""
        size += ROW_OVERHEAD * len(rows)
        if 2 * size > self.bytes_max:
            self.clear()
            return
        self._make_room(size)
        self._young.update(rows)

    def clear(self) -> None:
        """Forget everything."""
        self._young, self._old = {}, {}
        self._young_bytes = self._old_bytes = 0
