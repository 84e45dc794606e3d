"""What was sent and answered, counted."""

from collections import Counter

from msgspec import Struct, field


class Tally(Struct):
    """Counts of exchanges; several add up."""

    answers: dict[tuple[str, int], int] = field(default_factory=dict)
    """By operation and status."""
    codes: dict[str, int] = field(default_factory=dict)
    """Of problems, those of a bulk's items too."""
    items: dict[tuple[str, int], int] = field(default_factory=dict)
    """Of bulks, by operation and status of the item."""
    kinds: dict[str, int] = field(default_factory=dict)
    """Whether requests kept to the document, and whether they were taken."""
    walks: int = 0

    @property
    def cases(self) -> int:
        """How many requests were sent."""
        return sum(self.answers.values())

    def of(self, operation_id: str, *statuses: int) -> int:
        """How often an operation was answered, with one of these statuses if any are named."""
        return sum(
            count
            for (name, status), count in self.answers.items()
            if name == operation_id and (not statuses or status in statuses)
        )

    def add(self, other: "Tally") -> None:
        """Counts what the other has counted as well."""
        for name in ("answers", "codes", "items", "kinds"):
            setattr(self, name, dict(Counter(getattr(self, name)) + Counter(getattr(other, name))))
        self.walks += other.walks

    def line(self) -> str:
        """How far it is."""
        statuses = Counter[int]()
        for (_, status), count in self.answers.items():
            statuses[status] += count
        return " ".join(f"{status}:{count}" for status, count in sorted(statuses.items()))

    def table(self) -> str:
        """Everything, for people."""
        lines = [f"{self.cases} requests in {self.walks} walks"]
        for title, counts in (("answers", self.answers), ("items of bulks", self.items)):
            lines.append(f"{title}:")
            for name in sorted({name for name, _ in counts}):
                of_it = sorted(
                    (status, n) for (other, status), n in counts.items() if other == name
                )
                shown = "  ".join(f"{status} × {n}" for status, n in of_it)
                lines.append(f"  {name:18} {sum(n for _, n in of_it):6}   {shown}")
        for title, named in (("requests", self.kinds), ("problems", self.codes)):
            lines.append(f"{title}:")
            lines += [f"  {n:6}  {name}" for name, n in sorted(named.items(), key=lambda p: -p[1])]
        return "\n".join(lines)


def count(counts: dict[str, int], name: str) -> None:
    """One more of this name."""
    counts[name] = counts.get(name, 0) + 1


def count_pair(counts: dict[tuple[str, int], int], name: str, status: int) -> None:
    """One more of this name and status."""
    counts[name, status] = counts.get((name, status), 0) + 1
