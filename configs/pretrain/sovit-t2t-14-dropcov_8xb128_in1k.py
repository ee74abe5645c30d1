# "T2T-ViT-14 + DropCov" of the paper, 24.9 M parameters. Its code has the token
# embedding of So-ViT in place of that of T2T-ViT.
_base_ = './sovit-small-dropcov_8xb128_in1k.py'

model = dict(backbone=dict(arch='t2t-14'))
