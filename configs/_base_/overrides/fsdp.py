# Parameters, gradients and optimizer state shared out over the processes, for models that
# are too large for one GPU. One process alone trains and tests without it.
runner_type = 'FlexibleRunner'
strategy = dict(type='mmgcp.FSDPStrategy')
