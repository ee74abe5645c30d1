"""Steps beside the trainings: pictures, costs, analyses."""

from typing import TYPE_CHECKING

from .recipe import shown
from .step import Step

if TYPE_CHECKING:
    from .plan import Planner

#: Reads the logs of every seed; the others look at the models of the first.
_ALL_SEEDS = ('convergence',)


def add_pictures(planner: 'Planner', task: str, trained: list[Step]) -> None:
    """Plan the predictions of one task's models on validation images."""
    step = f'pictures/{task}'
    target = planner.dir(step) / 'pictures.json'
    command = ['python', '-m', 'mmgcp.study.pictures', shown(target.parent)]
    command += ['--count', str(planner.study['pictures']), '--models']
    planner.add(
        step,
        'pictures',
        [*command, *_models(trained)],
        target,
        deps=[train.name for train in trained],
        inputs=[train.result for train in trained],
        meta={'task': task, 'group': step},
    )


def add_costs(planner: 'Planner', task: str) -> None:
    """Plan the parameters, FLOPs and speed of one task's models, measured alone."""
    trained = [
        step
        for step in planner.steps
        if step.kind in ('pretrain', 'transfer')
        and step.meta['task'] == task
        and step.meta['seed'] == planner.study['seeds'][0]
    ]
    if not trained:
        return
    step = f'costs/{task}'
    target = planner.dir(step) / 'costs.json'
    command = ['python', '-m', 'mmgcp.study.costs', shown(target), '--models']
    planner.add(
        step,
        'costs',
        [*command, *_models(trained)],
        target,
        deps=[train.name for train in trained],
        inputs=[train.result for train in trained],
        exclusive=True,
        meta={'task': task, 'group': step},
    )


def _models(trained: list[Step]) -> list[str]:
    """``NAME=CONFIG=CHECKPOINT`` of each training."""
    return [
        f'{step.meta["encoder"]}={shown(step.work_dir / "config.py")}='
        f'{shown(step.result)}'
        for step in trained
    ]


def add_analysis(planner: 'Planner', name: str) -> None:
    """Plan one analysis of every task, all encoders in one picture.

    Args:
        planner: The plan so far; gets one step for each task.
        name: Tool below ``tools/analysis``.
    """
    study = planner.study
    tasks = dict.fromkeys(
        step.meta['task']
        for step in planner.steps
        if step.kind in ('pretrain', 'transfer')
    )
    for task in tasks:
        trained = [
            step
            for step in planner.steps
            if step.kind in ('pretrain', 'transfer')
            and step.meta['task'] == task
            and (name in _ALL_SEEDS or step.meta['seed'] == study['seeds'][0])
        ]
        _add_step(planner, name, task, trained)


def _add_step(planner: 'Planner', name: str, task: str, trained: list[Step]) -> None:
    step = f'analysis/{name}/{task}'
    folder = planner.dir(step)
    pairs = [
        shown(path)
        for train in trained
        for path in (train.work_dir / 'config.py', train.result)
    ]
    labels = [train.meta['encoder'] for train in trained]
    options = planner.study['analysis_options'].get(name, [])
    command = ['python', planner.tool(f'tools/analysis/{name}.py'), *pairs]
    command += ['--labels', *labels, '--out', shown(folder), *map(str, options)]
    planner.add(
        step,
        'analysis',
        command,
        folder / f'{name}.json',
        deps=[train.name for train in trained],
        inputs=[train.result for train in trained],
        meta={'analysis': name, 'task': task, 'group': step},
    )
