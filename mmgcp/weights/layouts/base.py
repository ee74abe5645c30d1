"""What a checkpoint layout has to say about itself, and the report on a conversion."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import torch

from ...utils.errors import first_names

Tensors = dict[str, torch.Tensor]
Rule = tuple[str, str]

_REASONS = {
    'dropped': 'not part of the encoder: ',
    'added': 'counter older files lack, set to 0: ',
}


@dataclass
class KeyReport:
    """Fate of every name of the source and of every name of the result."""

    kept: dict[str, str] = field(default_factory=dict)  # old name to new one
    dropped: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)  # with what became of the values
    unexpected: list[str] = field(default_factory=list)  # in the source only
    missing: list[str] = field(default_factory=list)  # in the model only
    mismatched: list[str] = field(default_factory=list)  # of another shape

    @property
    def renamed(self) -> dict[str, str]:
        """Old names to new ones that differ in more than ``backbone.``."""
        return {
            old: new
            for old, new in self.kept.items()
            if old.removeprefix('backbone.') != new.removeprefix('backbone.')
        }

    @property
    def problems(self) -> str:
        """What makes the conversion an error, empty when nothing does."""
        return '; '.join(
            f'{len(names)} {fate}: {first_names(names, 4)}'
            for fate in ('missing', 'mismatched', 'unexpected')
            if (names := getattr(self, fate))
        )

    def text(self, verbose: bool = False) -> str:
        """The report as printed: counts by fate, and all names when verbose."""
        renamed = [f'{old} -> {new}' for old, new in self.renamed.items()]
        taken = [old for old in self.kept if old not in self.renamed]
        fates = {'taken': taken, 'renamed': renamed, **vars(self)}
        del fates['kept']
        lines = []
        for fate, names in fates.items():
            lines.append(f'{fate:11} {len(names):5d}')
            if names and (verbose or fate != 'taken'):
                shown = first_names(names, len(names) if verbose else 3)
                lines.append(f'    {_REASONS.get(fate, "")}{shown}')
        return '\n'.join(lines)


@dataclass(frozen=True)
class Layout:
    """A way in which somebody published weights.

    A file has this layout when a name in it begins with each of the regular
    expressions ``signs``. ``rules`` are pairs of a regular expression for a whole name
    of the source, and the name in a model of mmpretrain or mmdet, with ``\\1`` for
    groups. The first one that fits a name decides. ``finish`` changes values once all
    names are translated.
    """

    name: str
    signs: tuple[str, ...]
    rules: tuple[Rule, ...]
    description: str
    finish: Callable[[Tensors, KeyReport], Tensors] = lambda tensors, report: tensors
    targets: tuple[str, ...] = ('encoder', 'classifier')
    meta: Mapping[str, str] = field(default_factory=dict)

    def matches(self, names: Collection[str]) -> bool:
        """Whether tensors of these names have the layout."""
        return all(any(re.match(sign, name) for name in names) for sign in self.signs)

    def translate(self, tensors: Mapping[str, torch.Tensor]) -> tuple:
        """Return the renamed tensors of a checkpoint, and the report on them."""
        report = KeyReport()
        result: Tensors = {}
        for name, tensor in tensors.items():
            matches = ((re.fullmatch(rule, name), new) for rule, new in self.rules)
            target = next((match.expand(new) for match, new in matches if match), None)
            if target is None:
                report.unexpected.append(name)
            elif target in result:
                report.mismatched.append(f'{name} and another become {target}')
            else:
                result[target] = tensor
                report.kept[name] = target
        return self.finish(result, report), report
