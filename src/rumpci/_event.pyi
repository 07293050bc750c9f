class Event:
    sequence: int
    vector: int
    count: int
    status: tuple[int, ...]
    def __init__(
        self, sequence: int, vector: int, count: int, status: tuple[int, ...] = ()
    ) -> None: ...
