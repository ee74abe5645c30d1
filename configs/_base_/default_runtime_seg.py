default_scope = 'mmseg'
# Not needed to find the types; gives a clear ImportError if the package is missing.
custom_imports = dict(imports=['mmgcp'], allow_failed_imports=False)

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(
    type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer'
)
log_processor = dict(by_epoch=False)

log_level = 'INFO'
load_from = None
resume = False
tta_model = dict(type='SegTTAModel')
