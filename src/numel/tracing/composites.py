"""Composite operators that are written down whole; every other one is taken apart into the operators it is made of.

Each has a formula in analyses (a contract test holds that): whole means fewer dispatches and nothing hidden by the
fused kernel that a backend would pick.
"""

from __future__ import annotations

_MATRIX = """
linear matmul conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d scaled_dot_product_attention
lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell outer inner
"""

_ELEMENTWISE = """
layer_norm batch_norm group_norm instance_norm rms_norm dropout alpha_dropout feature_dropout
softmax log_softmax max_pool1d max_pool2d max_pool3d avg_pool1d adaptive_avg_pool1d adaptive_avg_pool2d
adaptive_avg_pool3d selu relu6 true_divide subtract multiply square
upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d _upsample_bilinear2d_aa
_upsample_bicubic2d_aa
"""

_FREE = """
to reshape reshape_as contiguous flatten type_as expand_as view_as chunk tensor_split narrow movedim moveaxis
swapaxes swapdims unflatten ravel adjoint mT mH numpy_T matrix_H upsample_nearest1d upsample_nearest2d
upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d
"""

WHOLE: frozenset[str] = frozenset(f"aten.{name}" for name in (_MATRIX + _ELEMENTWISE + _FREE).split())
