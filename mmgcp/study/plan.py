"""Turn a study into the graph of its steps."""

import json
from pathlib import Path
from typing import Any

from mmgcp.analysis.bootstrap import check_evaluator
from mmgcp.analysis.frozen import METRICS, SCORES
from mmgcp.datasets.checking import LOADERS, DataError, check_config
from mmgcp.datasets.own_data import PARTS, own_data_changes
from mmgcp.engine.metrics import known_metrics
from mmgcp.utils.errors import UserError
from mmgcp.weights.reading import read_checkpoint

from .derived_config import DerivedConfig, find, shown
from .step import KINDS, TRAININGS, Step, StudyError, digest

PRETRAIN = 'pretrain'
BOOTSTRAP = 'bootstrap'
_PRETRAIN_METRICS = {'accuracy/top1': 'top-1 accuracy (%)'}
#: The others look at the models of the first seed, unless they are told ``--seeds``.
_ANALYSES_OF_ALL_SEEDS = ('convergence', BOOTSTRAP)

#: ``deps`` and ``inputs`` of a step.
After = dict[str, list]


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
            for (name, seed), encoder in encoders.items():
                if name in entry.get('encoders', [name]):
                    self._transfer(task, name, seed, *encoder)
            if study['pictures']:
                self._side_by_side('pictures', task)
        tasks = task_names(study, self.steps)
        for task in tasks if study['costs'] else []:
            self._side_by_side('costs', task)
        for analysis in study['analyses']:
            for task in tasks:
                self._analysis(analysis, task)
        read = {name for step in self.steps for name in step.deps}
        return [s for s in self.steps if s.kind != 'export' or s.name in read]

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
            self._add('check', 'check', command, faults, files=files)
        elif data:
            tool, *options = data['command']
            command = ['python', self._tool(tool), *map(str, options)]
            self._add('data', 'data', command, Path(data['result']))
        self._first = [step.name for step in self.steps]

    def _encoder(self, name: str, seed: int) -> tuple[dict | None, After]:
        """Plan what makes an encoder; returns ``init_cfg`` of a backbone that has it."""
        entry = self.study['encoders'][name]
        after: After = {'deps': self._first}
        if 'init_cfg' in entry:
            return entry['init_cfg'], after
        if 'checkpoint' in entry:
            note = f'encoder file of {name}'
            after['inputs'] = self._weights(entry['checkpoint'], note)
            return _init(entry['checkpoint']), after
        if 'source' in entry:
            kind, step, source = 'convert', f'convert/{name}', entry['source']
            note = f'official weights of {name}; see docs/convert.md'
            meta, after['inputs'] = {}, self._weights(source, note)
        else:
            config = self._config(entry['pretrain'], entry.get('overrides', {}))
            config = config.changed({'randomness': {'seed': seed}})
            meta = {'encoder': name, 'seed': seed, 'task': PRETRAIN}
            train = self._train(config, after, meta)
            kind, step, source = 'export', f'export/{name}/seed{seed}', train.weights
            after = _after([train])
        target = self._dir(step) / 'encoder.pth'
        if all(step != other.name for other in self.steps):
            tool = self._tool('tools/convert_checkpoint.py')
            command = ['python', tool, shown(source), shown(target), '--to', 'encoder']
            command += self._recalibration(name, source)
            self._add(step, kind, command, target, meta=meta, **after)
        return _init(target), {'deps': [step], 'inputs': [target]}

    def _recalibration(self, name: str, source: str | Path) -> list[str]:
        """Options that estimate the batch norms of the last stage anew."""
        images = self.study['recalibrate'].get('images', 0)
        if not images:
            return []
        config = self.study['recalibrate'].get('config')
        if isinstance(source, Path):  # the checkpoint of a pre-training
            config = shown(source.with_name('config.py'))
        elif config is None:
            raise StudyError(
                f'{self.study["file"]}: recalibrate needs config, a pre-training '
                f'config with the backbone and the images of {name}'
            )
        else:
            config = shown(find(config, self.root))
        options = ['--recalibrate', str(images), '--config', config]
        form = self.study['encoders'][name].get('backbone', {}).get('last_stage')
        if form is not None:
            options += ['--cfg-options', f'model.backbone.last_stage={form}']
        return options

    def _transfer(
        self, task: str, name: str, seed: int, init: dict | None, after: After
    ) -> None:
        entry = self.study['tasks'][task]
        meta = {'task': task, 'encoder': name, 'seed': seed}
        if entry.get('protocol') == 'training-data':
            return self._on_training_data(meta)
        file = entry['config'].format(encoder=name)
        config = self._config(file, entry.get('overrides', {}))
        if 'backbone' not in config.values.get('model', {}):
            raise StudyError(f'{config.base}: model has no backbone')
        backbone = {'init_cfg': None if init is None else {'_delete_': True, **init}}
        backbone.update(self.study['encoders'][name].get('backbone', {}))
        changes = {'model': {'backbone': backbone}, 'randomness': {'seed': seed}}
        config = config.changed(changes)
        if entry.get('protocol') == 'features':
            self._features(config, after, meta)
        elif 'lr' in entry:
            for rate in entry['lr']:
                self._train(_at_rate(config, rate), after, {**meta, 'lr': rate})
        else:
            self._train(config, after, meta)

    def _features(self, config: DerivedConfig, after: After, meta: dict) -> None:
        """Plan k-NN and logistic regression on the features of a frozen encoder."""
        self._note_missing_data(config)
        init = config.values['model']['backbone']['init_cfg'] or {'checkpoint': 'none'}
        file = self._dir(_name(meta)) / 'config.py'
        command = ['tools/evaluate_encoder.py', init['checkpoint'], '--data']
        command.append(shown(file))
        if set(SCORES) & metrics_of(self.study, meta['task']).keys():
            command.append('--scores')
        self._evaluate(config, command, after, meta)

    def _on_training_data(self, meta: dict) -> None:
        """Plan the evaluation of a pre-trained classifier on its training images."""
        entry = self.study['encoders'][meta['encoder']]
        if 'pretrain' not in entry:
            raise StudyError(
                f'{self.study["file"]}: task {meta["task"]}: encoder {meta["encoder"]} '
                'is not pre-trained here. Leave it out with encoders=[...] of the task'
            )
        name = _name({**meta, 'task': PRETRAIN})
        train = next(step for step in self.steps if step.name == name)
        config = self._config(entry['pretrain'], entry.get('overrides', {}))
        pipeline = config.values['test_dataloader']['dataset']['pipeline']
        images = config.values['train_dataloader']['dataset']
        dataset = {'_delete_': True, **images, 'pipeline': pipeline, 'test_mode': True}
        config = config.changed({'test_dataloader': {'dataset': dataset}})
        folder = self._dir(_name(meta))
        command = ['tools/test.py', shown(folder / 'config.py'), shown(train.weights)]
        command += ['--work-dir', shown(folder)]
        self._evaluate(config, command, _after([train]), meta)

    def _evaluate(
        self, config: DerivedConfig, command: list[str], after: After, meta: dict
    ) -> None:
        """Plan a tool that reads ``config.py`` of the step and writes metrics."""
        folder, (tool, *arguments) = self._dir(_name(meta)), command
        result = folder / 'metrics.json'
        metrics = self._metrics(config, meta['task'])
        self._add(
            _name(meta),
            'evaluate',
            ['python', self._tool(tool), *arguments, '--out', shown(result)],
            result,
            files={folder / 'config.py': config.text(folder)},
            content=config.values,
            meta={**meta, 'config': shown(config.base), 'metrics': metrics},
            **after,
        )

    def _train(self, config: DerivedConfig, after: After, meta: dict) -> Step:
        """Plan a training with the evaluation of what it ends with."""
        self._note_missing_data(config)
        task, folder = meta['task'], self._dir(_name(meta))
        nproc = self.study['tasks'].get(task, {}).get('nproc') or self.study['nproc']
        config = config.on_processes(nproc)
        file, checkpoint = folder / 'config.py', folder / config.last_checkpoint()
        launcher = ['--launcher', 'pytorch'] if nproc > 1 else []
        by_epoch, length = config.schedule()
        meta = {
            **meta,
            'config': shown(config.base),
            'max_epochs': length if by_epoch else None,
            'max_iters': None if by_epoch else length,
            'batch_size': config.batch_size * nproc,
            'recipe': config.recipe(nproc),
        }
        metrics = folder / 'metrics.json'
        command = ['python', self._tool('tools/train.py'), shown(file)]
        command += ['--work-dir', shown(folder), '--test-out', shown(metrics)]
        return self._add(
            _name(meta),
            PRETRAIN if task == PRETRAIN else 'transfer',
            [*command, *launcher],
            metrics,
            meta={**meta, 'metrics': self._metrics(config, task)},
            files={file: config.text(folder)},
            content=config.values,
            processes=nproc,
            weights=checkpoint,
            resume_mark=folder / 'last_checkpoint',
            **after,
        )

    def _metrics(self, config: DerivedConfig, task: str) -> list[str]:
        """Metric keys of a task; StudyError for one that its config cannot give."""
        keys = list(metrics_of(self.study, task))
        known = known_metrics(config.values.get('test_evaluator'))
        if self.study['tasks'].get(task, {}).get('protocol') == 'features':
            known = [*METRICS, *SCORES]
        wrong = [key for key in keys if known and key not in known]
        if wrong:
            raise StudyError(
                f'{self.study["file"]}: metrics of {task}: unknown key {wrong[0]!r}; '
                f'{shown(config.base)} gives {", ".join(known)}'
            )
        return keys

    def _side_by_side(self, kind: str, task: str) -> None:
        """Plan pictures or costs of the models of one task and the first seed."""
        name, trained = f'{kind}/{task}', self._trainings(task, first_seed=True)
        result = self._dir(name) / f'{kind}.json'
        if kind == 'pictures':
            command = ['mmgcp.visualization.side_by_side', shown(result)]
            command += ['--count', str(self.study['pictures'])]
        else:
            command = ['mmgcp.analysis.costs', shown(result)]
        command = ['python', '-m', *command, '--models', *_models(trained)]
        if trained:
            meta = {'task': task}
            self._add(name, kind, command, result, meta=meta, **_after(trained))

    def _analysis(self, analysis: str, task: str) -> None:
        """Plan an analysis of one task, all encoders in one picture."""
        name = f'analysis/{analysis}/{task}'
        options = list(map(str, self.study['analysis_options'].get(analysis, [])))
        all_seeds = analysis in _ANALYSES_OF_ALL_SEEDS or '--seeds' in options
        trained = self._trainings(task, first_seed=not all_seeds)
        if analysis == BOOTSTRAP:
            # It is about the values in the tables. Of several rates these come last.
            if len(self.study['tasks'].get(task, {}).get('lr', ())) > 1:
                return
            for step in trained:
                check_evaluator(step.content, step.meta['config'])
        command = ['python', self._tool(f'tools/analysis/{analysis}.py')]
        command += [*_models(trained), '--out', shown(self._dir(name)), *options]
        result = self._dir(name) / f'{analysis}.json'
        if trained:
            meta = {'task': task, 'analysis': analysis}
            self._add(name, 'analysis', command, result, meta=meta, **_after(trained))

    def _trainings(self, task: str, first_seed: bool) -> list[Step]:
        seeds = self.study['seeds'][:1] if first_seed else self.study['seeds']
        trained = [step for step in self.steps if step.kind in TRAININGS]
        trained = [step for step in trained if step.meta['task'] == task]
        # Which rate is best is known when all have run; these show the first.
        first_rate = self.study['tasks'].get(task, {}).get('lr', [None])[0]
        trained = [step for step in trained if step.meta.get('lr') == first_rate]
        return [step for step in trained if step.meta['seed'] in seeds]

    def _add(
        self, name: str, kind: str, command: list[str], result: Path, **settings: Any
    ) -> Step:
        step = Step(name, kind, command, result, self._dir(name), **settings)
        expected = {**KINDS, **self.study['expected_seconds']}
        step.expected_seconds = expected.get(step.group, expected[kind])
        self.steps.append(step)
        return step

    def _dir(self, name: str) -> Path:
        return self.folder / 'steps' / name

    def _tool(self, name: str) -> str:
        return shown(find(name, self.root))

    def _config(self, file: str, overrides: dict[str, Any]) -> DerivedConfig:
        """A config on the study's own data, if it has some; ``overrides`` win."""
        config = DerivedConfig(find(file, self.root))
        own = self.study['own_data']
        changes = own_data_changes(config.values, own, config.total_batch)
        return config.changed(changes).changed(overrides)

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
        """Note once why the data sets of a config are not complete; encoders and seeds
        share them, and COCO takes a while to look at."""
        key = digest([config.values.get(loader) for loader in LOADERS])
        if not self._first and key not in self._datasets_seen:
            self._datasets_seen.add(key)
            try:
                check_config(config.values)
            except DataError as error:
                note = str(error).replace('\n', ' ')
                if note not in self.missing:
                    self.missing.append(note)


def _name(meta: dict[str, Any]) -> str:
    """Name of a training or evaluation, which is also its place below ``steps``."""
    rate = f'/lr{meta["lr"]:g}' if 'lr' in meta else ''
    return f'{meta["task"]}/{meta["encoder"]}/seed{meta["seed"]}{rate}'


def _after(steps: list[Step]) -> After:
    """Of a step that reads the checkpoints of trainings."""
    return {'deps': [s.name for s in steps], 'inputs': [s.weights for s in steps]}


def _models(trained: list[Step]) -> list[str]:
    """Arguments that name the models of trainings, and their encoders."""
    words = []
    for step in trained:
        words += [shown(step.work_dir / 'config.py'), shown(step.weights)]
    return [*words, '--labels', *(step.meta['encoder'] for step in trained)]


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


def _at_rate(config: DerivedConfig, rate: float) -> DerivedConfig:
    """The config with another learning rate, which validation will judge."""
    for key in ('optim_wrapper.optimizer', 'val_dataloader'):
        part: Any = config.values
        for name in key.split('.'):
            part = (part or {}).get(name)
        if not part:
            raise StudyError(f'{config.base}: a task with lr=[...] needs {key}')
    return config.changed({'optim_wrapper': {'optimizer': {'lr': rate}}})


def _init(file: str | Path) -> dict[str, str]:
    return {'type': 'mmgcp.PretrainedEncoder', 'checkpoint': shown(file)}
