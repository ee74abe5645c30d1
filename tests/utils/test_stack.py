import pytest

from mmgcp.utils import stack
from mmgcp.utils.collect_env import collect_env
from mmgcp.utils.stack import Provider, check_stack


@pytest.fixture
def installed(monkeypatch):
    def pretend(*found):
        monkeypatch.setattr(stack, 'providers', lambda: found)

    return pretend


def test_every_installed_module_has_one_provider():
    modules = [provider.module for provider in stack.providers()]
    assert 'mmengine' in modules
    assert len(modules) == len(set(modules))


def test_mixed_stacks_are_named(installed):
    installed(
        Provider('mmdet', 'mmdet', '3.3.0'),
        Provider('mmdet', 'onedl-mmdetection', '3.5.1'),
    )
    with pytest.warns(UserWarning, match=r'mmdet \(mmdet\), onedl-mmdetection'):
        check_stack()


def test_report_names_versions_and_origins():
    found = collect_env()
    assert ' from ' in found['mmengine']
    assert found['mmcv operators'] == 'compiled'
