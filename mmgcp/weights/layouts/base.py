"""What a checkpoint layout has to say about itself, and the report on a conversion."""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import torch

from ..errors import first_names

Tensors = dict[str, torch.Tensor]


def _by_reason() -> defaultdict[str, list[str]]:
    return defaultdict(list)


@dataclass
class KeyReport:
    """Fate of every name of the source and of every name of the result."""

    kept: dict[str, str] = field(default_factory=dict)  # old name to new one
    dropped: dict[str, list[str]] = field(default_factory=_by_reason)
    added: dict[str, list[str]] = field(default_factory=_by_reason)
    changed: dict[str, list[str]] = field(default_factory=_by_reason)  # values
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
        fates = {'taken': {'': taken}, 'renamed': {'': renamed}}
        fates |= {fate: getattr(self, fate) for fate in ('dropped', 'added', 'changed')}
        for fate in ('unexpected', 'missing', 'mismatched'):
            fates[fate] = {'': getattr(self, fate)}
        lines = []
        for fate, reasons in fates.items():
            lines.append(f'{fate:11} {sum(map(len, reasons.values())):5d}')
            for reason, names in reasons.items():
                if names and (verbose or fate != 'taken'):
                    shown = first_names(names, len(names) if verbose else 3)
                    lines.append(f'    {reason}{": " if reason else ""}{shown}')
        return '\n'.join(lines)


@dataclass(frozen=True)
class Layout:
    """A way in which somebody published weights.

    ``rules`` are pairs of a regular expression for a whole name of the source, and the
    name in a model of mmpretrain or mmdet, with ``\\1`` for groups. The first one that
    fits a name decides. ``finish`` changes values once all names are translated.
    """

    name: str
    matches: Callable[[Collection[str]], bool]
    rules: tuple[tuple[str, str], ...]
    description: str
    finish: Callable[[Tensors, KeyReport], Tensors] = lambda tensors, report: tensors
    targets: tuple[str, ...] = ('encoder', 'classifier')
    published_input: bool = True  # all its files take the input of ImageNet models
    meta: Mapping[str, str] = field(default_factory=dict)

    def translate(self, tensors: Mapping[str, torch.Tensor]) -> tuple:
        """Return the renamed tensors of a checkpoint, and the report on them."""
        report = KeyReport()
        result: Tensors = {}
        for name, tensor in tensors.items():
            target = self._target(name)
            if target is None:
                report.unexpected.append(name)
            elif target in result:
                report.mismatched.append(f'{name} and another become {target}')
            else:
                result[target] = tensor
                report.kept[name] = target
        return self.finish(result, report), report

    def _target(self, name: str) -> str | None:
        for pattern, target in self.rules:
            if match := re.fullmatch(pattern, name):
                return match.expand(target)
        return None


def any_match(pattern: str, names: Collection[str]) -> bool:
    """Whether some name begins with a pattern."""
    return any(re.match(pattern, name) for name in names)
