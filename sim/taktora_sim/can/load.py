"""How busy a simulated CAN bus is: spans of busy time in a sliding window, by identifier too; it knows no frame."""

from __future__ import annotations

from collections import deque

__all__ = ["BusLoad"]


# req: REQ_8207
class BusLoad:
    """Busy time within a sliding window.

    A span that ends is noted and no more: the sums are brought up to date when somebody asks, or by :meth:`settle` for
    many spans at once, which costs half as much a frame.

    Args:
        window_ns: Longest window that can be asked for.
    """

    def __init__(self, window_ns: int) -> None:
        self.window_ns = window_ns
        self._busy_ns = 0
        self._peak_ns = 0
        self.noted: list[tuple[int, int, int]] = []
        """Where spans are noted: start, end, the identifier word that took it; they come in order, without overlap."""
        self._spans: deque[tuple[int, int, int]] = deque()
        self._within_ns = 0

    @property
    def busy_ns(self) -> int:
        """Sum of all spans."""
        self.settle()
        return self._busy_ns

    @property
    def peak_ns(self) -> int:
        """Most busy time there was in the window at the end of a span."""
        self.settle()
        return self._peak_ns

    def within(self, since_ns: int, until_ns: int) -> int:
        """Return the busy time between two instants of the window."""
        self.settle()
        return sum(max(0, min(end, until_ns) - max(start, since_ns)) for start, end, _ in self._spans)

    def by_id(self, since_ns: int, until_ns: int) -> dict[int, int]:
        """Return the same for each identifier word, in the order of the words."""
        self.settle()
        shares: dict[int, int] = {}
        for start, end, rx_id in self._spans:
            inside_ns = min(end, until_ns) - max(start, since_ns)
            if inside_ns > 0:
                shares[rx_id] = shares.get(rx_id, 0) + inside_ns
        return dict(sorted(shares.items()))

    def settle(self) -> None:
        """Bring the sums up to date; whoever notes spans calls it now and then, so that they do not pile up."""
        spans, window_ns, within_ns, peak_ns = self._spans, self.window_ns, self._within_ns, self._peak_ns
        busy_ns = 0
        for span in self.noted:
            start_ns, end_ns, _ = span
            spans.append(span)
            took_ns = end_ns - start_ns
            within_ns += took_ns
            busy_ns += took_ns
            since_ns = end_ns - window_ns
            oldest_ns, until_ns, _ = spans[0]
            while until_ns <= since_ns:
                within_ns -= until_ns - oldest_ns
                spans.popleft()
                oldest_ns, until_ns, _ = spans[0]
            cut_off_ns = since_ns - oldest_ns  # of the oldest, if it began before the window
            inside_ns = within_ns - cut_off_ns if cut_off_ns > 0 else within_ns
            if inside_ns > peak_ns:
                peak_ns = inside_ns
        self._within_ns, self._peak_ns = within_ns, peak_ns
        self._busy_ns += busy_ns
        self.noted.clear()
