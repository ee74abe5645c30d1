"""Encoders of timm and Hugging Face as feature pyramids, in any framework."""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmgcp.models.necks.simple_feature_pyramid import SimpleFeaturePyramid
from mmgcp.registry import MODELS
from mmgcp.utils.errors import ConfigValueError
from mmgcp.utils.layer_depth import freeze_layers


class LibraryEncoder(BaseModule):
    """What encoders of both libraries share: levels, freezing, names of tensors.

    A *plain* encoder, such as ViT, DeiT or DINO, has maps of one stride, that of its
    patches. With ``pyramid_channels`` they go through
    :class:`mmgcp.models.SimpleFeaturePyramid`, whose weights no file holds. Images are
    padded with zeros at the right and bottom to whole patches.
    """

    #: Prefixes that other classes, and this one, put in front of the library's names.
    prefixes = ('net.', 'timm_model.')

    def __init__(
        self,
        net: nn.Module,
        layers: Sequence[str],
        channels: Sequence[int],
        strides: Sequence[int],
        plain: bool,
        pyramid_channels: int | None,
        frozen_stages: int,
        norm_eval: bool,
        init_cfg: dict | None,
    ) -> None:
        super().__init__(init_cfg)
        self.net = net
        self.pyramid = None
        self.out_channels, self.out_strides = tuple(channels), tuple(strides)
        self.patch_size = strides[0] if plain else 1
        if plain and pyramid_channels:
            self.pyramid = SimpleFeaturePyramid(channels[0], pyramid_channels)
            scales = self.pyramid.scales
            self.out_channels = (pyramid_channels,) * len(scales)
            self.out_strides = tuple(int(strides[0] / scale) for scale in scales)
        self.layer_names = [f'net.{name}' for name in layers]
        if not -1 <= frozen_stages <= len(layers):
            raise self.error(
                f'frozen_stages={frozen_stages} is not in -1 .. {len(layers)}'
            )
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        freeze_layers(self, self.layer_names, frozen_stages)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images ``(B, 3, H, W)`` to the levels."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.patch_size, 0, -height % self.patch_size))
        maps = tuple(self.maps(x))
        return maps if self.pyramid is None else self.pyramid(maps)

    def maps(self, x: Tensor) -> Sequence[Tensor]:
        """The maps of the library's encoder."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> 'LibraryEncoder':
        """Set the mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        freeze_layers(self, self.layer_names, self.frozen_stages)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def own_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the tensors of a file of the library the names of this module.

        Dropped are those which the whole network of the library has and this one does
        not, such as its classifier. The pyramid of a plain encoder, which files of the
        library lack, is added with its initial values.
        """
        for prefix in self.prefixes:
            if any(name.startswith(prefix) for name in tensors):
                tensors = {n.removeprefix(prefix): t for n, t in tensors.items()}
        pyramid = {
            name: tensors.get(name, initial)
            for name, initial in self.state_dict().items()
            if name.startswith('pyramid.')
        }
        of_net = {n: t for n, t in tensors.items() if not n.startswith('pyramid.')}
        named = {f'net.{name}': t for name, t in self.fitted(of_net).items()}
        return {**pyramid, **named}

    def fitted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of a file for ``net``, adapted and resized by the library."""
        raise NotImplementedError

    @classmethod
    def error(cls, text: str) -> ConfigValueError:
        """The error to raise, with the name of the class."""
        return ConfigValueError(f'mmgcp.{cls.__name__}: {text}')

    @classmethod
    def library(cls, name: str, extra: str) -> ModuleType:
        """Import the library, or say how to install it."""
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise cls.error(f'{error}: pip install "mmgcp[{extra}]"') from error


@MODELS.register_module()
class TimmEncoder(LibraryEncoder):
    """A feature pyramid from any encoder of `timm <https://huggingface.co/docs/timm>`_.

    ``mmgcp.PretrainedEncoder`` fills it from a file of timm, of mmpretrain's
    ``TIMMBackbone`` or of this class; position embeddings and patches are resized.

    Args:
        model: Name of the encoder in timm.
        out_indices: Levels to return, by timm's numbers. By default those of strides 4
            to 32; of plain encoders the last block.
        pyramid_channels: Channels of the levels made of a plain encoder. None returns
            its maps as they are, for pooling necks.
        frozen_stages: 0 freezes what is in front of the level of stride 4, ``i`` the
            first ``i`` levels from there on as well, in plain encoders blocks; -1
            nothing.
        norm_eval: Keep batch norms in evaluation mode.
        with_cp: Checkpoint the blocks to save memory.
        **kwargs: Further arguments of ``timm.create_model``, such as ``img_size``,
            ``patch_size`` or ``drop_path_rate``.

    Raises:
        ConfigValueError: timm is missing or too old, has no such encoder, or an
            argument is out of range.
    """

    def __init__(
        self,
        model: str,
        out_indices: Sequence[int] | None = None,
        pyramid_channels: int | None = 256,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        timm = self.library('timm', 'timm')
        if not timm.is_model(model):
            near = get_close_matches(model, timm.list_models(), 5, 0.5)
            raise self.error(
                f'model={model!r} is not in timm {timm.__version__}; nearest: '
                f'{", ".join(near) or "none"}'
            )
        self.model, self.kwargs = model, kwargs
        net = self._create()
        if not hasattr(net, 'prune_intermediate_layers'):
            raise self.error(
                f'model={model!r} has no prune_intermediate_layers in timm '
                f'{timm.__version__}: use another encoder or a newer timm'
            )
        levels = net.feature_info
        plain = levels[0]['reduction'] == levels[-1]['reduction']
        if out_indices is None:
            wanted = [i for i, level in enumerate(levels) if level['reduction'] > 2]
            out_indices = wanted[-1:] if plain else wanted
        last = len(levels) - 1
        if not all(-last - 1 <= i <= last for i in out_indices):
            raise self.error(f'out_indices={list(out_indices)} are not in 0 .. {last}')
        self.out_indices = [i % len(levels) for i in out_indices]
        # what the levels do not need would be parameters without gradients
        net.prune_intermediate_layers(self.out_indices, prune_norm=not plain)
        if with_cp:
            net.set_grad_checkpointing(True)
        chosen = [levels[i] for i in self.out_indices]
        super().__init__(
            net,
            [info['module'] for info in levels if info['reduction'] > 2],
            [info['num_chs'] for info in chosen],
            [info['reduction'] for info in chosen],
            plain,
            pyramid_channels,
            frozen_stages,
            norm_eval,
            init_cfg,
        )

    def _create(self) -> Any:
        """The whole encoder, for images of any size where it can take them."""
        timm = self.library('timm', 'timm')
        for any_size in (dict(dynamic_img_size=True), dict(strict_img_size=False)):
            try:
                return timm.create_model(self.model, **any_size, **self.kwargs)
            except TypeError:  # it has no such argument
                continue
        return timm.create_model(self.model, **self.kwargs)

    def maps(self, x: Tensor) -> Sequence[Tensor]:
        return self.net.forward_intermediates(
            x,
            indices=self.out_indices,
            norm=self.patch_size > 1,
            output_fmt='NCHW',
            intermediates_only=True,
        )

    def fitted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        whole = self._create()
        adapt = getattr(inspect.getmodule(type(whole)), 'checkpoint_filter_fn', None)
        if adapt is not None:
            tensors = adapt(dict(tensors), whole)
        dropped = whole.state_dict().keys() - self.net.state_dict().keys()
        return {name: t for name, t in tensors.items() if name not in dropped}


@MODELS.register_module()
class HuggingFaceEncoder(LibraryEncoder):
    """A feature pyramid from an ``AutoBackbone`` of Hugging Face's transformers.

    ``mmgcp.PretrainedEncoder`` fills it from ``model.safetensors`` of a folder written
    by ``save_pretrained``, whatever head was saved with it, or from an encoder file of
    this class.

    Args:
        model: Folder with ``config.json``, name on the hub, or a dict with
            ``model_type`` and the settings of that config.
        out_indices: Stages to return, in plain encoders blocks, from 0 on. By default
            all stages; of plain encoders the last block.
        pyramid_channels: As in :class:`TimmEncoder`.
        frozen_stages: 0 freezes the embedding, ``i`` the first ``i`` stages or blocks
            as well, -1 nothing.
        norm_eval: Keep batch norms in evaluation mode.
        with_cp: Checkpoint the blocks to save memory.
        **kwargs: Settings of the config to change.

    Raises:
        ConfigValueError: transformers is missing, there is no such config, it belongs
            to no backbone, or an argument is out of range.
    """

    def __init__(
        self,
        model: str | dict,
        out_indices: Sequence[int] | None = None,
        pyramid_channels: int | None = 256,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        config = self._config(model, kwargs)
        stages = len(config.stage_names) - 1
        # hierarchical ones have a number of blocks for each stage
        plain = not hasattr(config, 'depths')
        if out_indices is None:
            out_indices = [stages - 1] if plain else range(stages)
        if not all(-stages <= i < stages for i in out_indices):
            raise self.error(
                f'out_indices={list(out_indices)} are not in 0 .. {stages - 1}'
            )
        # there 0 is the embedding
        config.out_indices = [i % stages + 1 for i in out_indices]
        net = self.library('transformers', 'hf').AutoBackbone.from_config(config)
        for name, parameter in net.named_parameters():
            if name.endswith('mask_token'):  # of pre-training: it gets no gradient
                parameter.requires_grad = False
        if with_cp and not net.supports_gradient_checkpointing:
            raise self.error(f'model_type={config.model_type!r} has no with_cp')
        if with_cp:
            net.gradient_checkpointing_enable(dict(use_reentrant=False))
        if plain:
            strides = [config.patch_size] * len(config.out_indices)
        else:
            with torch.no_grad():
                maps = net.eval()(torch.zeros(1, 3, 64, 64)).feature_maps
            strides = [64 // x.shape[-1] for x in maps]
        blocks = next(n for n, m in net.named_modules() if isinstance(m, nn.ModuleList))
        super().__init__(
            net.train(),
            [f'{blocks}.{i}' for i in range(stages)],
            net.channels,
            strides,
            plain,
            pyramid_channels,
            frozen_stages,
            norm_eval,
            init_cfg,
        )

    def _config(self, model: str | dict, changes: dict) -> Any:
        transformers = self.library('transformers', 'hf')
        known = list(
            transformers.models.auto.modeling_auto.MODEL_FOR_BACKBONE_MAPPING_NAMES
        )
        try:
            if isinstance(model, Mapping):
                config = transformers.AutoConfig.for_model(**model, **changes)
            else:
                config = transformers.AutoConfig.from_pretrained(model, **changes)
        except (OSError, ValueError) as error:
            raise self.error(
                f'model={model!r} is no folder with the config.json of an encoder, and '
                'no such name is in reach on the hub. Without a network download '
                f'config.json and model.safetensors of https://huggingface.co/{model} '
                f'into one folder and name it ({str(error).splitlines()[0][:200]})'
            ) from error
        kind = config.model_type
        if kind not in known:
            near = get_close_matches(kind, known, 5, 0.4)
            raise self.error(
                f'model={model!r} has model_type={kind!r}, which is no backbone of '
                f'transformers {transformers.__version__}; nearest: '
                f'{", ".join(near) or "none"}, all: {", ".join(known)}'
            )
        return config

    def maps(self, x: Tensor) -> Sequence[Tensor]:
        return self.net(x).feature_maps

    def fitted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        net: Any = self.net
        filled, report = type(net).from_pretrained(
            None,
            config=net.config,
            state_dict=dict(tensors),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        inside = self._bare(filled.state_dict())
        whole = self._bare(self._whole().state_dict())
        missing = self._bare(report['missing_keys']).keys() & whole.keys()
        found = {
            full: t
            for full, t in filled.state_dict().items()
            if not self._bare([full]).keys() & missing
        }
        extra = self._bare(report['unexpected_keys']).items()
        found |= {full: tensors[full] for name, full in extra if name not in whole}
        for name, shape, *_ in report['mismatched_keys']:
            found[inside[next(iter(self._bare([name])))]] = torch.empty(shape)
        return found

    def _bare(self, names: Any) -> dict[str, str]:
        """The names without the prefix that some classes put before the encoder's."""
        prefix = f'{self.net.base_model_prefix}.'
        return {name.removeprefix(prefix): name for name in names}

    def _whole(self) -> nn.Module:
        """The network that the config was saved with; it has tensors we do not need."""
        transformers = self.library('transformers', 'hf')
        config = self.net.config
        for name in config.architectures or ():
            if hasattr(transformers, name):
                return getattr(transformers, name)(config)
        return transformers.AutoModel.from_config(config)
