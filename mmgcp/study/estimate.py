"""What a study may cost in accelerator hours, from stated assumptions."""

from typing import Any

from .step import Step, StudyError

_NEEDED = ('device', 'sustained_tflops', 'training_factor', 'gmacs', 'train_images')


def accelerator_hours(
    study: dict[str, Any], steps: list[Step], done: set[str]
) -> list[str]:
    """Estimate the hours of all trainings that are still to do.

    hours = images * epochs * multiply-adds * 2 * ``training_factor``
    / ``sustained_tflops``. The assumptions are in the study, and are printed.

    Args:
        study: The study; ``assumptions`` as ``docs/studies.md`` says.
        steps: Its plan.
        done: Names of the steps that need not run.

    Returns:
        Lines of text.

    Raises:
        StudyError: An assumption is missing.
    """
    assumed = study['assumptions']
    for key in _NEEDED:
        if key not in assumed:
            raise StudyError(f'{study["file"]}: assumptions has no {key!r}')
    rate = assumed['sustained_tflops'] * 1e12
    hours: dict[str, tuple[int, float]] = {}
    for step in steps:
        if step.kind not in ('pretrain', 'transfer') or step.name in done:
            continue
        task = step.meta['task']
        if task not in assumed['gmacs'] or task not in assumed['train_images']:
            raise StudyError(
                f'{study["file"]}: assumptions.gmacs and train_images need {task!r}'
            )
        work = step_images(step, assumed['train_images'][task])
        work *= assumed['gmacs'][task] * 1e9 * 2 * assumed['training_factor']
        count, total = hours.get(task, (0, 0.0))
        hours[task] = count + 1, total + work / rate / 3600
    lines = [
        'Accelerator hours of the trainings to do, an estimate:',
        f'  assumed: {assumed["device"]} sustains {assumed["sustained_tflops"]} TFLOP/s; '
        f'a training step costs {assumed["training_factor"]} x the multiply-adds of '
        'inference; one multiply-add is 2 FLOPs; data loading keeps up; evaluation '
        'not counted',
    ]
    for task, (count, total) in hours.items():
        each = total / count
        lines.append(
            f'  {task}: {count} trainings x {each:.1f} h = {total:.0f} h '
            f'({assumed["gmacs"][task]} G multiply-adds per image)'
        )
    lines.append(f'  together: {sum(total for _, total in hours.values()):.0f} h')
    return lines


def step_images(step: Step, train_images: int) -> float:
    """Images that a training looks at."""
    if step.meta['max_epochs']:
        return step.meta['max_epochs'] * train_images
    return step.meta['max_iters'] * step.meta['batch_size']
