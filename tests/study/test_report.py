"""The report: its numbers, its words, and its page in a browser."""

import io
import json
import re
import shutil
import subprocess

import pytest
from rich.console import Console

from mmgcp.study.local import LocalBackend
from mmgcp.study.progress import Display
from mmgcp.study.report import render, write_report
from mmgcp.study.scheduler import Scheduler

from .fake import (
    VALUES,
    add_analysis,
    add_pictures,
    fake_steps,
    fake_study,
    without_times,
)


def run(steps, folder):
    backend = LocalBackend(2, folder, cpus=2)
    backend.poll_seconds = 0.01
    display = Display(steps, 2, Console(file=io.StringIO()))
    return Scheduler(steps, backend, display).run()


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp('study')
    steps = add_analysis(add_pictures(fake_steps(folder), folder), folder)
    assert set(run(steps, folder).values()) == {'done'}
    return folder, write_report(fake_study(), steps, folder), steps


def test_numbers_are_those_of_the_steps(made):
    folder, report, _ = made
    table = report['results']['segmentation']['mIoU']['encoders']
    for name, values in VALUES.items():
        assert table[name]['values'] == values
    difference = table['isqrt']['difference']
    # Differences 1, 2, 3; see test_statistics for the arithmetic.
    assert difference['mean'] == 2.0
    assert difference['interval'] == pytest.approx([-0.484138, 4.484138], abs=1e-5)
    assert difference['includes_zero']
    assert not table['dropcov']['difference']['includes_zero']
    assert table['gap']['difference'] is None
    stored = json.loads((folder / 'report.json').read_text())
    assert stored['results']['segmentation']['mIoU']['encoders']['isqrt']['mean'] == 12


def test_curves_and_speed_are_those_of_the_logs(made):
    _, report, _ = made
    curves = report['curves']['segmentation']
    assert curves['mIoU']['gap'][0] == [
        [1, pytest.approx(10 / 3)],
        [2, pytest.approx(20 / 3)],
        [3, pytest.approx(10)],
    ]
    assert curves['training loss']['gap'][0][0] == [10, 1.0]
    # 4 images in 0.5 s
    assert report['training']['segmentation']['gap'][0]['images_per_second'] == 8.0


def test_markdown_says_what_can_be_said(made):
    folder, report, _ = made
    text = (folder / 'report.md').read_text()
    assert '| ISQRT | 12.00 | 1.00 | +2.00 | [-0.48, +4.48] |' in text
    assert 'the interval includes zero: no difference shown' in text
    assert 'higher than the baseline' in text
    assert 'Not measured here. Source: a paper' in text
    for step in report['steps']:
        assert step['name'] in text
    for name in re.findall(r'!\[[^]]*\]\(([^)]+)\)', text):
        assert (folder / name).is_file(), name


def test_every_number_is_traceable(made):
    _, report, _ = made
    for step in report['steps']:
        assert step['state'] == 'done'
        assert step['command'].startswith('python -c')
        assert step['log']
        assert re.fullmatch('[0-9a-f]{64}', step['result_sha256'])
    test = next(step for step in report['steps'] if step['kind'] == 'evaluate')
    train = next(step for step in report['steps'] if step['kind'] == 'transfer')
    assert list(test['inputs'].values()) == [train['result_sha256']]


def test_analyses_are_in_the_report(made):
    folder, report, _ = made
    [analysis] = report['analyses']
    assert analysis['result'] == {'rank': 7.5}
    assert (folder / analysis['picture']).is_file()
    assert f'![spectrum]({analysis["picture"]})' in (folder / 'report.md').read_text()


def test_faults_of_own_data_are_in_the_report(made):
    folder, report, _ = made
    found = {
        'counts': {'train': {'images': 3}},
        'errors': ['a.json: annotation 1: bbox [0, 0, 0, 0] is empty'],
        'notes': ["val: class 'x' is empty"],
    }
    report = {**report, 'own_data': {'detection': found}}
    for name in ('report.md', 'report.html'):
        text = render(report, folder, name)
        assert 'detection, train: 3 images' in text
        assert 'detection: fault: a.json: annotation 1' in text
        assert 'detection: note: val: class' in text


def test_one_seed_is_said_to_be_unknown(tmp_path):
    steps = fake_steps(tmp_path, seeds=[0])
    run(steps, tmp_path)
    report = write_report(fake_study([0]), steps, tmp_path)
    row = report['results']['segmentation']['mIoU']['encoders']['isqrt']
    assert row['spread'] is None
    assert row['difference']['interval'] is None
    line = '| ISQRT | 11.00 | unknown: one seed | +1.00 | unknown: one seed |'
    assert line in (tmp_path / 'report.md').read_text()


def test_unfinished_study_is_reported_as_such(tmp_path):
    steps = fake_steps(tmp_path, seeds=[0])
    steps[0].command = ['python', '-c', 'raise SystemExit("broken on purpose")']
    state = run(steps, tmp_path)
    assert state[steps[0].name] == 'failed'
    report = write_report(fake_study([0]), steps, tmp_path)
    states = {step['name']: step['state'] for step in report['steps']}
    assert (
        states['segmentation/gap/seed0'] == 'failed (exit status 1: broken on purpose)'
    )
    assert states['segmentation-test/gap/seed0'] == 'not run'
    table = report['results']['segmentation']['mIoU']['encoders']
    assert 'gap' not in table
    text = (tmp_path / 'report.md').read_text()
    assert 'Not all steps are done' in text
    assert 'the baseline has no result' in text


def test_report_after_a_redone_step_is_the_same(made):
    folder, report, steps = made
    redone = next(step for step in steps if step.kind == 'transfer')
    redone.record_file.unlink()
    run(steps, folder)
    again = write_report(fake_study(), steps, folder)
    assert without_times(again) == without_times(report)


def test_page_holds_everything(made):
    folder, report, _ = made
    page = (folder / 'report.html').read_text()
    assert 'A study &lt;of&gt; numbers' in page
    # Nothing is fetched: no script, style or picture from elsewhere.
    assert page.count('data:image/png;base64,') == 7
    assert not re.search(r'(src|href)="(?!data:|#)', page)


BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
PROBE = """
<script>
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
ERRORS = """<script>
window.pageErrors = [];
addEventListener('error', (e) => window.pageErrors.push(e.message), true);
const error = console.error;
console.error = (...a) => { window.pageErrors.push(a.join(' ')); error(...a); };
</script>"""


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason='no chromium here')
@pytest.mark.parametrize('size', ['1200,900', '500,900'])
def test_page_in_a_browser(made, tmp_path, size):
    page = (made[0] / 'report.html').read_text()
    page = page.replace('<head>', '<head>' + ERRORS, 1).replace(
        '</body>', PROBE + '</body>'
    )
    file = tmp_path / 'page.html'
    file.write_text(page)
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    command = [browser, '--headless', '--no-sandbox', '--disable-gpu', '--dump-dom']
    command += [f'--user-data-dir={tmp_path / "profile"}', f'--window-size={size}']
    command += ['--virtual-time-budget=8000', file.as_uri()]
    found = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True
    )
    match = re.search(r'data-probe="([^"]*)"', found.stdout)
    assert match, found.stderr[-2000:]
    probe = json.loads(match.group(1).replace('&quot;', '"'))
    assert probe['errors'] == []
    assert probe['up'] == ['GAP', 'ISQRT', 'DROPCOV']
    assert probe['down'] == ['DROPCOV', 'ISQRT', 'GAP']
    assert probe['pictures'] == 7
    assert not probe['wide']


def test_exit_status_says_whether_a_step_failed(made, capsys):
    from mmgcp.study.run import _finish

    folder, _, steps = made
    states = dict.fromkeys((step.name for step in steps), 'done')
    console = Console(soft_wrap=True)
    assert _finish(fake_study(), steps, [], folder, console, states) == 0
    states[steps[0].name], states[steps[1].name] = 'failed', 'skipped'
    assert _finish(fake_study(), steps, [], folder, console, states) == 1
    text = capsys.readouterr().out
    assert f'failed: {steps[0].name}; read {steps[0].log}' in text
    assert f'not run because of that: {steps[1].name}' in text
