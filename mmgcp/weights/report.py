"""What became of each tensor of a converted checkpoint."""

from dataclasses import dataclass, field

from .errors import first_names


@dataclass
class KeyReport:
    """Fate of every name of the source and of every name of the result.

    Attributes:
        taken: Names kept, apart from wrappers such as ``module.``.
        renamed: Old names to new ones.
        dropped: Rule to the names it left out.
        added: Rule to the names of the result that the source does not have.
        changed: Rule to the names of the result whose values it rearranged or cut.
        unexpected: Names that no rule knows.
        missing: Names of the result that nothing fills.
        mismatched: What does not fit, in words.
    """

    taken: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, list[str]] = field(default_factory=dict)
    added: dict[str, list[str]] = field(default_factory=dict)
    changed: dict[str, list[str]] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)

    def drop(self, rule: str, name: str) -> None:
        """Note that a rule leaves a tensor out."""
        self.dropped.setdefault(rule, []).append(name)

    def change(self, rule: str, name: str) -> None:
        """Note that a rule rearranged or cut the values of a tensor."""
        self.changed.setdefault(rule, []).append(name)

    def add(self, rule: str, name: str) -> None:
        """Note that a rule made a tensor."""
        self.added.setdefault(rule, []).append(name)

    @property
    def problems(self) -> str:
        """What makes the conversion an error, empty when nothing does."""
        parts = []
        if self.missing:
            parts.append(f'{len(self.missing)} missing: {first_names(self.missing)}')
        if self.mismatched:
            parts.append(
                f'{len(self.mismatched)} mismatched: '
                f'{first_names(self.mismatched, limit=4)}'
            )
        if self.unexpected:
            parts.append(
                f'{len(self.unexpected)} unexpected: {first_names(self.unexpected)}'
            )
        return '; '.join(parts)

    def text(self, verbose: bool = False) -> str:
        """The report as printed: counts by fate, and all names when verbose."""
        lines = [f'taken       {len(self.taken):5d}']
        lines += [f'              {name}' for name in self.taken if verbose]
        lines.append(f'renamed     {len(self.renamed):5d}')
        pairs = list(self.renamed.items())
        shown = pairs if verbose else pairs[:3]
        lines += [f'              {old} -> {new}' for old, new in shown]
        if len(pairs) > len(shown):
            lines.append(f'              and {len(pairs) - len(shown)} more')
        for title in ('dropped', 'added', 'changed'):
            rules = getattr(self, title)
            lines.append(f'{title:11} {sum(map(len, rules.values())):5d}')
            for rule, names in rules.items():
                limit = len(names) if verbose else 3
                lines.append(f'              {rule}: {first_names(names, limit)}')
        for title in ('unexpected', 'missing', 'mismatched'):
            names = getattr(self, title)
            lines.append(f'{title:11} {len(names):5d}')
            shown = names if verbose else names[:12]
            lines += [f'              {name}' for name in shown]
            if len(names) > len(shown):
                lines.append(f'              and {len(names) - len(shown)} more')
        return '\n'.join(lines)
