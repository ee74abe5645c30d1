"""What a checkpoint layout has to say about itself."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import torch

from ..report import KeyReport

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Rule:
    """One line of a conversion table.

    Attributes:
        pattern: Regular expression for a whole name of the source.
        target: Name in a model of mmpretrain, with ``\\1`` for groups; None drops
            the tensor.
        reason: Why it is dropped, as the report names the rule.
    """

    pattern: str
    target: str | None
    reason: str = ''


@dataclass(frozen=True)
class Layout:
    """A way in which somebody published weights.

    Attributes:
        name: As in ``--layout``.
        matches: Whether a set of names is in this layout.
        rules: The conversion table. The first rule that fits a name decides.
        description: One line for the list of layouts.
        finish: Changes values once all names are translated.
        targets: What it can be converted to.
        rest: What everything outside of the encoder is.
        published_input: Whether all its files take the input of ImageNet models.
        meta: Metadata that follows from the layout.
    """

    name: str
    matches: Callable[[Collection[str]], bool]
    rules: tuple[Rule, ...]
    description: str
    finish: Callable[[Tensors, KeyReport], Tensors] = lambda tensors, report: tensors
    targets: tuple[str, ...] = ('encoder', 'classifier')
    rest: str = 'pooling head and classifier, not part of the encoder'
    published_input: bool = True
    meta: Mapping[str, str] = field(default_factory=dict)

    def translate(self, tensors: Mapping[str, torch.Tensor]) -> tuple:
        """Rename the tensors of a checkpoint.

        Returns:
            The renamed tensors and the report on them.
        """
        report = KeyReport()
        result: Tensors = {}
        compiled = [(re.compile(rule.pattern), rule) for rule in self.rules]
        for name, tensor in tensors.items():
            for pattern, rule in compiled:
                match = pattern.fullmatch(name)
                if match is None:
                    continue
                if rule.target is None:
                    report.drop(rule.reason, name)
                    break
                target = match.expand(rule.target)
                if target in result:
                    report.mismatched.append(f'{name} and another become {target}')
                    break
                result[target] = tensor
                if target in (name, f'backbone.{name}'):
                    report.taken.append(name)
                else:
                    report.renamed[name] = target
                break
            else:
                report.unexpected.append(name)
        return self.finish(result, report), report


def any_match(pattern: str, names: Collection[str]) -> bool:
    """Whether some name begins with a pattern."""
    compiled = re.compile(pattern)
    return any(compiled.match(name) for name in names)
