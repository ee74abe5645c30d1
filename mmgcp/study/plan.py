"""Turn a study into the graph of its steps."""

import json
from pathlib import Path
from typing import Any

from mmgcp.datasets.checking import LOADERS, DataError, check_config
from mmgcp.utils.errors import UserError
from mmgcp.weights.reading import read_checkpoint

from .derived_config import DerivedConfig, find, shown
from .own_data import PARTS, on_own_data
from .step import KINDS, TRAININGS, Step, StudyError

PRETRAIN = 'pretrain'
_PRETRAIN_METRICS = {'accuracy/top1': 'top-1 accuracy (%)'}
#: Reads the logs of every seed; the others look at the models of the first.
_ANALYSES_OF_ALL_SEEDS = ('convergence',)


class Planner:
    """Makes the steps of a study.

    Args:
        study: What :func:`mmgcp.study.config.load_study` returned.
        folder: Folder of the study.
        root: Where ``tools`` and ``configs`` are.

    Attributes:
        missing: What the plan needs and this machine lacks.
    """

    def __init__(self, study: dict[str, Any], folder: Path, root: Path) -> None:
        self.study = study
        self.folder = folder
        self.root = root
        self.steps: list[Step] = []
        self.missing: list[str] = []
        self._weights_seen: dict[str, list[Path]] = {}
        self._datasets_seen: set[str] = set()
        self._first: list[str] = []

    def plan(self) -> list[Step]:
        """All steps; each comes after those it depends on."""
        study = self.study
        self._data()
        encoders = {
            (name, seed): self._encoder(name, seed)
            for seed in study['seeds']
            for name in study['encoders']
        }
        for task, entry in study['tasks'].items():
            for seed in study['seeds']:
                for name in study['encoders']:
                    if name in entry.get('encoders', [name]):
                        self._transfer(task, name, seed, *encoders[name, seed])
            if study['pictures']:
                count = ['--count', str(study['pictures'])]
                self._side_by_side('pictures', task, '.', 'pictures.json', count)
        for task in task_names(study, self.steps):
            if study['costs']:
                self._side_by_side('costs', task, 'costs.json', 'costs.json', [])
        for analysis in study['analyses']:
            for task in task_names(study, self.steps):
                self._analysis(analysis, task)
        return self.steps

    def _data(self) -> None:
        own, data = self.study['own_data'], self.study['data']
        if own:
            parts = {key: value for key, value in own.items() if key in PARTS.values()}
            listed = self._dir('check') / 'data.json'
            faults = self._dir('check') / 'faults.json'
            command = ['python', self._tool('tools/check_data.py'), 'own']
            command += [shown(listed), '--out', shown(faults)]
            if own.get('allow_faults'):
                command.append('--allow-faults')
            files = {listed: json.dumps(parts, indent=2) + '\n'}
            self._first = [self._add('check', 'check', command, faults, files=files)]
        elif data:
            tool, *options = data['command']
            command = ['python', self._tool(tool), *map(str, options)]
            self._first = [self._add('data', 'data', command, Path(data['result']))]

    def _encoder(self, name: str, seed: int) -> tuple[dict | None, list[str], list]:
        """Plan what makes an encoder.

        Returns:
            ``init_cfg`` of the backbone, the steps to wait for, the files to hash.
        """
        entry = self.study['encoders'][name]
        if 'init_cfg' in entry:
            return entry['init_cfg'], self._first, []
        if 'checkpoint' in entry:
            file = entry['checkpoint']
            inputs = self._weights(file, f'encoder file of {name}')
            return _init(file), self._first, inputs
        if 'source' in entry:
            step, source, deps = f'convert/{name}', entry['source'], self._first
            note = f'official weights of {name}; see docs/convert.md'
            inputs = self._weights(source, note)
            meta: dict[str, Any] = {}
        else:
            config = self._config(entry['pretrain'], entry.get('overrides', {}))
            config = config.changed({'randomness': {'seed': seed}})
            train, step = f'pretrain/{name}/seed{seed}', f'export/{name}/seed{seed}'
            meta = {'encoder': name, 'seed': seed, 'task': PRETRAIN}
            source = self._train(train, PRETRAIN, config, self._first, [], meta)
            deps, inputs = [train], [source]
        target = self._dir(step) / 'encoder.pth'
        if all(step != other.name for other in self.steps):
            tool = self._tool('tools/convert_checkpoint.py')
            command = ['python', tool, shown(source), shown(target), '--to', 'encoder']
            kind = step.partition('/')[0]
            self._add(step, kind, command, target, meta, deps=deps, inputs=inputs)
        return _init(target), [step], [target]

    def _transfer(
        self,
        task: str,
        name: str,
        seed: int,
        init: dict | None,
        deps: list[str],
        inputs: list[Path],
    ) -> None:
        entry = self.study['tasks'][task]
        file = entry['config'].format(encoder=name)
        config = self._config(file, entry.get('overrides', {}))
        if 'backbone' not in config.values.get('model', {}):
            raise StudyError(f'{config.base}: model has no backbone')
        backbone = {'init_cfg': None if init is None else {'_delete_': True, **init}}
        backbone.update(self.study['encoders'][name].get('backbone', {}))
        changes = {'model': {'backbone': backbone}, 'randomness': {'seed': seed}}
        config = config.changed(changes)
        meta = {'task': task, 'encoder': name, 'seed': seed}
        step = f'{task}/{name}/seed{seed}'
        self._train(step, 'transfer', config, deps, inputs, meta)

    def _train(
        self,
        name: str,
        kind: str,
        config: DerivedConfig,
        deps: list[str],
        inputs: list[Path],
        meta: dict[str, Any],
    ) -> Path:
        """Plan a training and the evaluation of its last checkpoint."""
        folder = self._dir(name)
        file, checkpoint = folder / 'config.py', folder / config.last_checkpoint()
        by_epoch, length = config.schedule()
        task = meta['task']
        nproc = self.study['tasks'].get(task, {}).get('nproc') or self.study['nproc']
        launcher = ['--launcher', 'pytorch'] if nproc > 1 else []
        if not self._first:
            self._note_missing_data(config)
        meta = {**meta, 'config': shown(config.base), 'scope': config.scope}
        command = ['python', self._tool('tools/train.py'), shown(file)]
        self._add(
            name,
            kind,
            [*command, '--work-dir', shown(folder), *launcher],
            checkpoint,
            {
                **meta,
                'group': task,
                'max_epochs': length if by_epoch else None,
                'max_iters': None if by_epoch else length,
                'batch_size': config.batch_size() * nproc,
            },
            deps=deps,
            inputs=inputs,
            files={file: config.text(folder)},
            content=config.values,
            processes=nproc,
            resume_mark=folder / 'last_checkpoint',
        )
        test = name.replace('/', '-test/', 1)
        metrics = self._dir(test) / 'metrics.json'
        command = ['python', self._tool('tools/test.py'), shown(file)]
        command += [shown(checkpoint), '--work-dir', shown(metrics.parent)]
        self._add(
            test,
            'evaluate',
            [*command, '--out', shown(metrics), *launcher],
            metrics,
            {
                **meta,
                'group': f'{task}-test',
                'metrics': list(metrics_of(self.study, task)),
            },
            deps=[name],
            inputs=[checkpoint],
            processes=nproc,
        )
        return checkpoint

    def _side_by_side(
        self, kind: str, task: str, out: str, result: str, options: list[str]
    ) -> None:
        """Plan pictures or costs of the models of one task and the first seed."""
        name = f'{kind}/{task}'
        command = ['python', '-m', f'mmgcp.study.{kind}', shown(self._dir(name) / out)]
        command += [*options, '--models']
        trained = self._trainings(task, first_seed=True)
        for step in trained:
            config = shown(step.work_dir / 'config.py')
            command.append(f'{step.meta["encoder"]}={config}={shown(step.result)}')
        self._after(trained, name, kind, command, result, {'task': task})

    def _analysis(self, analysis: str, task: str) -> None:
        """Plan an analysis of one task, all encoders in one picture."""
        trained = self._trainings(task, analysis not in _ANALYSES_OF_ALL_SEEDS)
        name = f'analysis/{analysis}/{task}'
        command = ['python', self._tool(f'tools/analysis/{analysis}.py')]
        for step in trained:
            command += [shown(step.work_dir / 'config.py'), shown(step.result)]
        command += ['--labels', *(step.meta['encoder'] for step in trained)]
        command += ['--out', shown(self._dir(name))]
        command += map(str, self.study['analysis_options'].get(analysis, []))
        meta = {'analysis': analysis, 'task': task}
        self._after(trained, name, 'analysis', command, f'{analysis}.json', meta)

    def _trainings(self, task: str, first_seed: bool) -> list[Step]:
        return [
            step
            for step in self.steps
            if step.kind in TRAININGS
            and step.meta['task'] == task
            and not (first_seed and step.meta['seed'] != self.study['seeds'][0])
        ]

    def _after(
        self,
        trained: list[Step],
        name: str,
        kind: str,
        command: list[str],
        result: str,
        meta: dict[str, Any],
    ) -> None:
        """Plan a step that looks at trained models, if there are any."""
        if trained:
            self._add(
                name,
                kind,
                command,
                self._dir(name) / result,
                {**meta, 'group': name},
                deps=[step.name for step in trained],
                inputs=[step.result for step in trained],
                exclusive=kind == 'costs',
            )

    def _add(
        self,
        name: str,
        kind: str,
        command: list[str],
        result: Path,
        meta: dict[str, Any] | None = None,
        **settings: Any,
    ) -> str:
        meta = {'group': kind, **(meta or {})}
        expected = {**KINDS, **self.study['expected_seconds']}
        settings['expected_seconds'] = expected.get(meta['group'], expected[kind])
        folder = self._dir(name)
        self.steps.append(
            Step(name, kind, command, result, folder, meta=meta, **settings)
        )
        return name

    def _dir(self, name: str) -> Path:
        return self.folder / 'steps' / name

    def _tool(self, name: str) -> str:
        return shown(find(name, self.root))

    def _config(self, file: str, overrides: dict[str, Any]) -> DerivedConfig:
        """A config on the study's own data, if it has some; ``overrides`` win."""
        config = DerivedConfig(find(file, self.root))
        return on_own_data(config, self.study['own_data']).changed(overrides)

    def _weights(self, file: str, what: str) -> list[Path]:
        """A file of weights as list, empty when it is missing or cannot be read."""
        if file not in self._weights_seen:
            self._weights_seen[file] = []
            try:
                if not Path(file).is_file():
                    raise StudyError(f'{file}: {what}')
                read_checkpoint(file)
                self._weights_seen[file] = [Path(file)]
            except UserError as error:
                self.missing.append(str(error))
        return self._weights_seen[file]

    def _note_missing_data(self, config: DerivedConfig) -> None:
        """Note what keeps the data sets of a config from being complete, each thing
        once: encoders and seeds share them, and COCO takes a while to look at."""
        for loader in LOADERS:
            dataset = (config.values.get(loader) or {}).get('dataset')
            key = json.dumps(dataset, sort_keys=True, default=str)
            if key in self._datasets_seen:
                continue
            self._datasets_seen.add(key)
            try:
                check_config(config.values, (loader,))
            except DataError as error:
                # Without the loader's name three splits say the same.
                note = str(error).partition('.dataset')[2].lstrip('. ')
                note = note.replace('\n', ' ')
                if note not in self.missing:
                    self.missing.append(note)


def task_names(study: dict[str, Any], steps: list[Step]) -> list[str]:
    """Tasks of the report; pre-training is the first when the study does it."""
    first = [PRETRAIN] if any(step.kind == PRETRAIN for step in steps) else []
    return first + list(study['tasks'])


def metrics_of(study: dict[str, Any], task: str) -> dict[str, str]:
    """Metric keys of a task and how to call them, the main one first."""
    if task == PRETRAIN:
        found = (e['metrics'] for e in study['encoders'].values() if 'metrics' in e)
        return next(found, _PRETRAIN_METRICS)
    return study['tasks'][task]['metrics']


def _init(file: str | Path) -> dict[str, str]:
    return {'type': 'mmgcp.PretrainedEncoder', 'checkpoint': shown(file)}
