"""The report: its numbers, its words, and its page in a browser."""

import itertools
import json
import re
import shutil
import subprocess

import pytest

from mmgcp.study.progress import plain_console
from mmgcp.study.report import render, write_report
from mmgcp.study.run import _finish

from .fake import VALUES, fake_step, fake_steps, fake_study, more_steps, run_steps


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp('study')
    steps = more_steps(fake_steps(folder), folder)
    assert set(run_steps(steps, folder)[0].values()) == {'done'}
    return folder, write_report(fake_study(), steps, folder), steps


def test_numbers_are_those_of_the_steps(made):
    folder, report, _ = made
    table = report['results']['segmentation']['mIoU']['encoders']
    for name, values in VALUES.items():
        assert table[name]['values'] == values
    isqrt, dropcov = report['results']['segmentation']['mIoU']['comparisons']
    # Differences 1, 2, 3; see tests/analysis/test_statistics.py for the arithmetic.
    assert (isqrt['encoder'], isqrt['reference'], isqrt['mean']) == ('isqrt', 'gap', 2)
    assert isqrt['interval'] == pytest.approx([-0.484138, 4.484138], abs=1e-5)
    assert isqrt['verdict'] == 'equivalent'
    assert dropcov['verdict'] == 'higher'
    # Of the two comparisons of the one primary end-point.
    assert dropcov['p_adjusted'] == pytest.approx(2 * dropcov['p'])
    stored = json.loads((folder / 'report.json').read_text())
    assert stored['results']['segmentation']['mIoU']['encoders']['isqrt']['mean'] == 12
    curves = report['curves']['segmentation']
    assert curves['mIoU']['gap'][0] == [
        [step, pytest.approx(10 * step / 3)] for step in (1, 2, 3)
    ]
    assert curves['training loss']['gap'][0][0] == [10, 1.0]
    # Heights of a third, two and three thirds of the level; GAP ends at 10.
    heights = report['results']['segmentation']['convergence']
    assert heights['encoders']['isqrt']['mean'] == pytest.approx(8)
    assert heights['comparisons'][0]['p_adjusted'] is None
    reached = report['results']['segmentation']['matching']['encoders']
    assert reached['gap']['values'] == {0: 3, 1: 3, 2: 3}
    # 4 images in 0.5 s
    assert report['training']['segmentation']['gap'][0]['images_per_second'] == 8.0


def test_markdown_says_what_can_be_said(made):
    folder, report, _ = made
    text = (folder / 'report.md').read_text()
    assert '| ISQRT | 12.00 | [9.52, 14.48] | 1.00 | 3 |' in text
    # Difference, interval, p, Holm, verdict, effect, TOST, detectable, seeds.
    line = (
        '| ISQRT − GAP | +2.00 | [-0.48, +4.48] | 0.074 | 0.074 | equivalent within ±5'
    )
    assert f'{line} | +2.00 | 0.018 | 3.26 | 5 |' in text
    assert '- DROPCOV is higher than GAP in mIoU (%): the difference is +4.00' in text
    assert 'GAP; ISQRT; DROPCOV are about fine-tuning only' in text
    assert 'Not measured here. Source: a paper' in text
    pictures = re.findall(r'!\[[^]]*\]\(([^)]+)\)', text)
    assert len(pictures) == 7
    assert all((folder / name).is_file() for name in pictures)


def test_errors_from_images_and_from_seeds_stand_side_by_side(tmp_path):
    row = {'value': 12.0, 'standard_error': 1.0, 'differences': {'gap': 0.456}}
    found = {'images': 50, 'resamples': 200, 'metrics': {'mIoU': {'isqrt': row}}}
    meta = {'task': 'segmentation', 'analysis': 'bootstrap'}
    code = (
        'import pathlib, sys; '
        'pathlib.Path(sys.argv[1], "bootstrap.json").write_text(sys.argv[2])'
    )
    step = fake_step(
        tmp_path,
        'analysis/bootstrap/segmentation',
        'analysis',
        code,
        'bootstrap.json',
        json.dumps(found),
        meta=meta,
    )
    steps = [*fake_steps(tmp_path), step]
    run_steps(steps, tmp_path)
    report = write_report(fake_study(), steps, tmp_path)
    isqrt, dropcov = report['results']['segmentation']['mIoU']['comparisons']
    # Differences 1, 2, 3.
    assert isqrt['standard_error'] == pytest.approx(1 / 3**0.5)
    text = (tmp_path / 'report.md').read_text()
    assert (
        'The standard error of the difference is 0.46 from the 50 test images (200 '
        'resamples), and 0.58 from the seeds.'
    ) in text
    assert 'resamples' not in dropcov['sentence']


def test_a_task_shows_its_own_figures(tmp_path):
    study = fake_study([0])
    study['tasks']['segmentation-2'] = study['tasks']['segmentation']
    steps = [s for t in study['tasks'] for s in fake_steps(tmp_path, [0], task=t)]
    run_steps(steps, tmp_path)
    write_report(study, steps, tmp_path)
    text = (tmp_path / 'report.md').read_text()
    for name in ('segmentation', 'segmentation-2'):
        assert text.count(f'(figures/{name}-results.png)') == 1
        assert text.count(f'(figures/{name}-curves.png)') == 1


def test_every_number_is_traceable(made):
    _, report, steps = made
    assert [step['name'] for step in report['steps']] == [step.name for step in steps]
    for step in report['steps']:
        assert step['state'] == 'done'
        assert step['command'].startswith('python -c')
        assert step['log']
        assert re.fullmatch('[0-9a-f]{64}', step['result_sha256'])
    weights = {str(step.weights) for step in steps if step.weights}
    assert report['steps'][-1]['inputs'].keys() == weights
    [analysis] = report['analyses']
    assert analysis['result'] == {'rank': 7.5}


def test_faults_of_own_data_are_in_the_report(made):
    folder, report, _ = made
    found = {
        'counts': {'train': {'images': 3}},
        'errors': ['a.json: annotation 1: bbox [0, 0, 0, 0] is empty'],
        'notes': ["val: class 'x' is empty"],
    }
    for name in ('report.md', 'report.html'):
        text = render({**report, 'own_data': {'detection': found}}, folder, name)
        assert 'detection, train: 3 images' in text
        assert 'detection: fault: a.json: annotation 1' in text
        assert 'detection: note: val: class' in text


def test_one_seed_is_said_to_be_unknown(tmp_path):
    steps = fake_steps(tmp_path, seeds=[0])
    run_steps(steps, tmp_path)
    write_report(fake_study([0]), steps, tmp_path)
    text = (tmp_path / 'report.md').read_text()
    assert '| ISQRT | 11.00 | unknown: one seed | unknown: one seed | 1 |' in text
    assert '| ISQRT − GAP | +1.00 | unknown: one seed | - |' in text
    assert 'ISQRT and GAP cannot be compared in mIoU (%): that takes two seeds.' in text


def test_a_curve_that_never_matches_has_no_mean(tmp_path):
    steps = fake_steps(tmp_path)
    run_steps(steps, tmp_path)
    report = write_report({**fake_study(), 'baseline': 'isqrt'}, steps, tmp_path)
    row = report['results']['segmentation']['matching']['encoders']['gap']
    assert row['mean'] is None
    text = (tmp_path / 'report.md').read_text()
    assert '| GAP | never in 3 of 3 seeds |  |  | 3 |' in text


def test_validation_data_choose_the_learning_rate(tmp_path):
    steps = fake_steps(tmp_path, seeds=[0, 1], rates=(0.5, 2))
    run_steps(steps, tmp_path)
    report = write_report(fake_study([0, 1]), steps, tmp_path)
    found = report['study']['tasks']['segmentation']['rates']['isqrt']
    assert found == {'chosen': 2, 'validation': {0.5: 5.75, 2: 23}}
    table = report['results']['segmentation']['mIoU']['encoders']
    # The worst on test data, which have no say.
    assert table['isqrt']['values'] == {0: 5.5, 1: 6}
    assert report['curves']['segmentation']['mIoU']['isqrt'][0][-1] == [3, 22]
    text = (tmp_path / 'report.md').read_text()
    assert 'rate of ISQRT: 2, the best on validation data among 0.5 (5.75), 2' in text


MEASURE = """
import json, pathlib, sys
found = {'scores/LogME': float(sys.argv[2]), 'knn/accuracy': 50.0}
pathlib.Path(sys.argv[1], 'metrics.json').write_text(json.dumps(found))
"""


def test_rank_correlation_of_scores_with_fine_tuning(tmp_path):
    # Fine-tuned: 10, 12, 14. Two of three pairs have the same order.
    scores = {'gap': 1.0, 'isqrt': 3.0, 'dropcov': 2.0}
    steps = fake_steps(tmp_path)
    for encoder, seed in itertools.product(scores, (0, 1, 2)):
        meta = {'task': 'frozen', 'encoder': encoder, 'seed': seed, 'config': 'c.py'}
        meta['metrics'] = ['scores/LogME', 'knn/accuracy']
        kind = (f'frozen/{encoder}/seed{seed}', 'evaluate', MEASURE, 'metrics.json')
        steps.append(fake_step(tmp_path, *kind, scores[encoder], meta=meta))
    run_steps(steps, tmp_path)
    study = fake_study()
    metrics = {'scores/LogME': 'LogME', 'knn/accuracy': 'k-NN (%)'}
    study['tasks']['frozen'] = {'protocol': 'features', 'metrics': metrics}
    report = write_report(study, steps, tmp_path)
    row, constant = report['agreement']
    assert (row['score'], row['end_point']) == ('scores/LogME', 'segmentation/mIoU')
    assert row['encoders']['kendall'] == pytest.approx(1 / 3)
    assert row['encoders']['spearman'] == pytest.approx(1 / 2)
    # 9 of 27 untied pairs of scores are discordant; of 36 pairs, 3 of GAP are tied.
    assert row['runs']['kendall'] == pytest.approx(9 / (27 * 33) ** 0.5)
    assert constant['encoders']['kendall'] is None
    text = (tmp_path / 'report.md').read_text()
    assert '| LogME | mIoU (%) | 3 | +0.33 | 1.000 | +0.50 | ' in text
    assert '| k-NN (%) | mIoU (%) | 3 | - | - | - | - | 9 | - | - |' in text
    assert '3 encoders are too few to conclude anything' in text
    assert 'with p = 0.33' in text
    assert 'id="agreement"' in (tmp_path / 'report.html').read_text()


def test_unfinished_study_is_reported_as_such(tmp_path, capsys):
    steps = more_steps(fake_steps(tmp_path, seeds=[0]), tmp_path)
    steps[0].command = ['python', '-c', 'raise SystemExit("broken on purpose")']
    state, _ = run_steps(steps, tmp_path)
    assert state[steps[0].name] == 'failed'
    console = plain_console()
    assert _finish(fake_study([0]), steps, [], tmp_path, console, state) == 1
    text = capsys.readouterr().out
    assert f'failed: {steps[0].name}; read {steps[0].log}' in text
    assert f'not run because of that: {steps[-2].name}' in text
    report = json.loads((tmp_path / 'report.json').read_text())
    states = [step['state'] for step in report['steps'][:2]]
    assert states == ['failed (exit status 1: broken on purpose)', 'done']
    assert report['steps'][-1]['state'] == 'not run'
    assert 'gap' not in report['results']['segmentation']['mIoU']['encoders']
    text = (tmp_path / 'report.md').read_text()
    assert 'Not all steps are done' in text
    assert 'ISQRT − GAP' not in text


def test_report_after_a_redone_step_is_the_same(made):
    folder, report, steps = made
    steps[0].record_file.unlink()
    run_steps(steps, folder)
    again = write_report(fake_study(), steps, folder)
    for key in ('study', 'results', 'curves', 'pictures'):
        assert again[key] == report[key]
    for old, new in zip(report['steps'], again['steps'], strict=True):
        for key in ('name', 'state', 'command', 'result_sha256', 'inputs'):
            assert new[key] == old[key]


def test_page_holds_everything(made):
    page = (made[0] / 'report.html').read_text()
    assert 'A study &lt;of&gt; numbers' in page
    # Nothing is fetched: no script, style or picture from elsewhere.
    assert page.count('data:image/png;base64,') == 7
    assert not re.search(r'(src|href)="(?!data:|#)', page)


BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
PROBE = """
<script>
window.pageErrors = [];
addEventListener('error', (e) => window.pageErrors.push(e.message), true);
addEventListener('load', () => setTimeout(() => {
  const table = document.querySelector('table.sortable');
  const first = () => Array.from(table.tBodies[0].rows, (r) => r.cells[0].textContent);
  const mean = table.tHead.rows[0].cells[1].querySelector('button');
  mean.click(); const up = first(); mean.click(); const down = first();
  const images = Array.from(document.images);
  document.body.setAttribute('data-probe', JSON.stringify({
    up, down, errors: window.pageErrors,
    pictures: images.filter((i) => i.complete && i.naturalWidth > 0).length,
    wide: document.documentElement.scrollWidth > innerWidth,
  }));
}, 300));
</script>
"""


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason='no chromium here')
def test_page_in_a_narrow_browser(made, tmp_path):
    page = (made[0] / 'report.html').read_text()
    file = tmp_path / 'page.html'
    file.write_text(page.replace('<head>', '<head>' + PROBE, 1))
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    command = [browser, '--headless', '--no-sandbox', '--disable-gpu', '--dump-dom']
    command += [f'--user-data-dir={tmp_path / "profile"}', '--window-size=500,900']
    command += ['--virtual-time-budget=8000', file.as_uri()]
    options = dict(capture_output=True, text=True, timeout=120, check=True)
    found = subprocess.run(command, **options)
    match = re.search(r'data-probe="([^"]*)"', found.stdout)
    assert match, found.stderr[-2000:]
    assert json.loads(match.group(1).replace('&quot;', '"')) == {
        'up': ['GAP', 'ISQRT', 'DROPCOV'],
        'down': ['DROPCOV', 'ISQRT', 'GAP'],
        'errors': [],
        'pictures': 7,
        'wide': False,
    }
