"""Turn a study into the graph of its steps."""

import json
from pathlib import Path
from typing import Any

from .extras import add_analysis, add_costs, add_pictures
from .own_data import PARTS, own_data_changes
from .recipe import Recipe, combine, find, shown
from .step import Step, StudyError

#: First guesses in seconds, for the display until something was measured.
_EXPECTED = {
    'data': 30,
    'check': 60,
    'pretrain': 60,
    'convert': 5,
    'export': 5,
    'transfer': 120,
    'evaluate': 20,
    'pictures': 15,
    'costs': 30,
    'analysis': 120,
}


class Planner:
    """Makes the steps of a study.

    Args:
        study: What :func:`mmgcp.study.config.load_study` returned.
        folder: Folder of the study.
        root: Where ``tools`` and ``configs`` are.
    """

    def __init__(self, study: dict[str, Any], folder: Path, root: Path) -> None:
        self.study = study
        self.folder = folder
        self.root = root
        self.steps: list[Step] = []
        self.missing: list[str] = []
        self.checked: set[str] = set()
        self.first: list[str] = []
        self.expected = {**_EXPECTED, **study['expected_seconds']}

    def plan(self) -> list[Step]:
        """All steps, in an order in which they could run one after the other."""
        self._data()
        encoders = {
            (name, seed): self._encoder(name, seed)
            for seed in self.study['seeds']
            for name in self.study['encoders']
        }
        for task in self.study['tasks']:
            self._task(task, encoders)
        if self.study['costs']:
            add_costs(self, 'pretrain')
        for analysis in self.study['analyses']:
            add_analysis(self, analysis)
        return self.steps

    # Parts of the graph

    def _data(self) -> None:
        own = self.study['own_data']
        if own:
            parts = {key: value for key, value in own.items() if key in PARTS.values()}
            folder = self.dir('check')
            command = ['python', self.tool('tools/check_data.py'), 'own']
            command += [shown(folder / 'data.json'), '--out']
            command.append(shown(folder / 'faults.json'))
            if own.get('allow_faults'):
                command.append('--allow-faults')
            self.add('check', 'check', command, folder / 'faults.json', deps=[])
            text = json.dumps(parts, indent=2) + '\n'
            self.steps[-1].files = {folder / 'data.json': text}
            self.first = ['check']
            return
        data = self.study['data']
        if not data:
            return
        command = [self.tool(data['command'][0]), *data['command'][1:]]
        self.add(
            'data',
            'data',
            ['python', *map(str, command)],
            Path(data['result']),
            deps=[],
        )
        self.first = ['data']

    def _encoder(self, name: str, seed: int) -> tuple[dict | None, list[str], list]:
        """Plan what makes an encoder.

        Returns:
            ``init_cfg`` of the backbone, the steps to wait for, the files to hash.
        """
        entry = self.study['encoders'][name]
        if 'init_cfg' in entry:
            return entry['init_cfg'], self.first, []
        if 'checkpoint' in entry:
            file = Path(entry['checkpoint'])
            if not file.is_file():
                self.missing.append(f'{file}: encoder file of {name}')
                return _init(file), self.first, []
            return _init(file), self.first, [file]
        if 'source' in entry:
            return self._convert(name, Path(entry['source']))
        return self._pretrain(name, seed)

    def _convert(self, name: str, source: Path) -> tuple[dict, list[str], list]:
        step = f'convert/{name}'
        target = self.dir(step) / 'encoder.pth'
        if all(step != other.name for other in self.steps):
            inputs = [source]
            if not source.is_file():
                self.missing.append(
                    f'{source}: official weights of {name}; docs/convert.md says '
                    'where they are'
                )
                inputs = []
            command = self._convert_command(source, target)
            self.add(step, 'convert', command, target, inputs=inputs)
        return _init(target), [step], [target]

    def _pretrain(self, name: str, seed: int) -> tuple[dict, list[str], list]:
        recipe = self._pretrain_recipe(name, seed)
        train = f'pretrain/{name}/seed{seed}'
        meta = {'encoder': name, 'seed': seed, 'group': 'pretrain', 'task': 'pretrain'}
        checkpoint = self._train(train, 'pretrain', recipe, self.first, [], meta)
        self._evaluate(train, recipe, checkpoint, meta)
        export = f'export/{name}/seed{seed}'
        target = self.dir(export) / 'encoder.pth'
        self.add(
            export,
            'export',
            self._convert_command(checkpoint, target),
            target,
            deps=[train],
            inputs=[checkpoint],
            meta={**meta, 'group': 'export'},
        )
        return _init(target), [export], [target]

    def _task(self, task: str, encoders: dict) -> None:
        entry = self.study['tasks'][task]
        first = []
        for seed in self.study['seeds']:
            for name in self.study['encoders']:
                if name not in entry.get('encoders', [name]):
                    continue
                init, deps, inputs = encoders[name, seed]
                recipe = self._task_recipe(task, name, seed, init)
                meta = {'task': task, 'encoder': name, 'seed': seed, 'group': task}
                step = f'{task}/{name}/seed{seed}'
                checkpoint = self._train(step, 'transfer', recipe, deps, inputs, meta)
                self._evaluate(step, recipe, checkpoint, meta)
                if seed == self.study['seeds'][0]:
                    first.append(self.steps[-2])
        if self.study['pictures'] and first:
            add_pictures(self, task, first)
        if self.study['costs']:
            add_costs(self, task)

    # Steps

    def _train(
        self,
        name: str,
        kind: str,
        recipe: Recipe,
        deps: list[str],
        inputs: list[Path],
        meta: dict[str, Any],
    ) -> Path:
        folder = self.dir(name)
        checkpoint = folder / recipe.last_checkpoint()
        by_epoch, length = recipe.schedule()
        nproc = self.study['tasks'].get(meta['task'], {}).get('nproc')
        nproc = nproc or self.study['nproc']
        command = [
            *self._launch('tools/train.py', nproc),
            shown(folder / 'config.py'),
            '--work-dir',
            shown(folder),
        ]
        if nproc > 1:
            command += ['--launcher', 'pytorch']
        self.add(
            name,
            kind,
            command,
            checkpoint,
            deps=deps,
            inputs=inputs,
            recipe=recipe,
            processes=nproc,
            resume=['--resume'],
            resume_mark=folder / 'last_checkpoint',
            meta={
                **meta,
                'max_epochs': length if by_epoch else None,
                'max_iters': None if by_epoch else length,
                'batch_size': recipe.batch_size() * nproc,
            },
        )
        return checkpoint

    def _evaluate(
        self, train: str, recipe: Recipe, checkpoint: Path, meta: dict[str, Any]
    ) -> None:
        task, _, rest = train.partition('/')
        name = f'{task}-test/{rest}'
        folder = self.dir(name)
        trained = next(step for step in self.steps if step.name == train)
        nproc = trained.processes
        command = [
            *self._launch('tools/test.py', nproc),
            shown(trained.work_dir / 'config.py'),
            shown(checkpoint),
            '--work-dir',
            shown(folder),
            '--out',
            shown(folder / 'metrics.json'),
        ]
        if nproc > 1:
            command += ['--launcher', 'pytorch']
        self.add(
            name,
            'evaluate',
            command,
            folder / 'metrics.json',
            deps=[train],
            inputs=[checkpoint],
            processes=nproc,
            meta={
                **meta,
                'group': f'{meta["group"]}-test',
                'scope': recipe.scope,
                'config': shown(recipe.config),
            },
        )

    def add(
        self,
        name: str,
        kind: str,
        command: list[str],
        result: Path,
        deps: list[str] | None = None,
        inputs: list[Path] | None = None,
        recipe: Recipe | None = None,
        exclusive: bool = False,
        processes: int = 1,
        resume: list[str] | None = None,
        resume_mark: Path | None = None,
        meta: dict[str, Any] | None = None,
    ) -> None:
        folder = self.dir(name)
        files: dict[Path, str] = {}
        content = None
        meta = dict(meta or {})
        if recipe is not None:
            files = {folder / 'config.py': recipe.text(folder)}
            content = recipe.values
            meta.update(config=shown(recipe.config), scope=recipe.scope)
            if not self.first:
                self._note_missing(recipe)
        self.steps.append(
            Step(
                name=name,
                kind=kind,
                command=command,
                result=result,
                work_dir=folder,
                deps=list(self.first if deps is None else deps),
                inputs=list(inputs or []),
                files=files,
                content=content,
                resume=list(resume or []),
                resume_mark=resume_mark,
                exclusive=exclusive,
                processes=processes,
                expected_seconds=float(
                    self.expected.get(meta.get('group'), self.expected[kind])
                ),
                meta=meta,
            )
        )

    # Details

    def dir(self, name: str) -> Path:
        return self.folder / 'steps' / name

    def tool(self, name: str) -> str:
        return shown(find(name, self.root))

    def _launch(self, tool: str, nproc: int) -> list[str]:
        if nproc == 1:
            return ['python', self.tool(tool)]
        module = ['-m', 'torch.distributed.run', '--standalone']
        return ['python', *module, f'--nproc_per_node={nproc}', self.tool(tool)]

    def _convert_command(self, source: Path, target: Path) -> list[str]:
        tool = self.tool('tools/convert_checkpoint.py')
        return ['python', tool, shown(source), shown(target), '--to', 'encoder']

    def _note_missing(self, recipe: Recipe) -> None:
        for note in recipe.missing_data(self.checked):
            if note not in self.missing:
                self.missing.append(note)

    def _recipe(self, file: str, changes: dict[str, Any]) -> Recipe:
        """A config on the study's own data, if it has some; ``changes`` win."""
        recipe = Recipe(find(file, self.root))
        own = own_data_changes(recipe, self.study['own_data'])
        return recipe.with_changes(combine(own, changes))

    def _pretrain_recipe(self, name: str, seed: int) -> Recipe:
        entry = self.study['encoders'][name]
        changes = combine(entry.get('overrides', {}), _seeded(seed))
        return self._recipe(entry['pretrain'], changes)

    def _task_recipe(
        self, task: str, name: str, seed: int, init: dict | None
    ) -> Recipe:
        entry = self.study['tasks'][task]
        file = entry['config'].format(encoder=name)
        recipe = self._recipe(file, entry.get('overrides', {}))
        if 'backbone' not in recipe.values.get('model', {}):
            raise StudyError(f'{recipe.config}: model has no backbone')
        replaced = None if init is None else {'_delete_': True, **init}
        backbone = {'init_cfg': replaced}
        backbone.update(self.study['encoders'][name].get('backbone', {}))
        changes = combine({'model': {'backbone': backbone}}, _seeded(seed))
        return recipe.with_changes(changes)


def _init(file: Path) -> dict[str, str]:
    return {'type': 'mmgcp.PretrainedEncoder', 'checkpoint': shown(file)}


def _seeded(seed: int) -> dict[str, Any]:
    return {'randomness': {'seed': seed}}
