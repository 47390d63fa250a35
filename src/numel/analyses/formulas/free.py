"""Operators that compute nothing: views, copies, factories, indexing, metadata. An explicit list, never a default.

Random numbers are here too: a draw is no arithmetic on the model's data. Integer-to-float conversion and masking by
a constant move data. What is not on this list and has no formula is reported as unknown.
"""

from __future__ import annotations

from typing import Any

from numel.analyses.formulas.registry import Cost, formula

_NOTHING = Cost()

# Move no byte at all: another look at the same storage, or a question about it.
VIEWS = """
    _conj _neg_view _fw_primal _make_dual _unpack_dual _nested_get_values _nested_view_from_buffer
    _nested_view_from_jagged _reshape_alias _values _indices values indices crow_indices col_indices ccol_indices
    row_indices adjoint alias as_strided as_strided_ broadcast_to broadcast_tensors chunk detach detach_ diagonal
    dsplit expand expand_as flatten hsplit imag real lift lift_fresh linalg_diagonal mH mT matrix_H moveaxis movedim
    narrow numpy_T permute pin_memory _pin_memory positive ravel reshape reshape_as resolve_conj resolve_neg select
    slice slice_inverse split split_with_sizes squeeze squeeze_ unsqueeze unsqueeze_ swapaxes swapaxes_ swapdims
    swapdims_ t t_ tensor_split transpose transpose_ unbind unflatten unfold unsafe_chunk unsafe_split
    unsafe_split_with_sizes _unsafe_view view view_as view_as_complex view_as_real vsplit contiguous data set_data
    atleast_1d atleast_2d atleast_3d conj unflatten_dense_tensors _autocast_to_full_precision
    _autocast_to_reduced_precision _lazy_clone
"""

METADATA = """
    size stride storage_offset sym_size sym_stride sym_numel sym_storage_offset sym_is_contiguous
    numel dim is_contiguous is_same_size is_complex is_floating_point is_signed
    is_conj is_neg is_inference is_nonzero is_coalesced is_pinned is_set_to is_leaf is_strides_like_format
    is_non_overlapping_and_dense is_distributed is_vulkan_available result_type promote_types can_cast _version
    _shape_as_tensor _has_same_storage_numel _has_compatible_shallow_copy_type _is_zerotensor item
    _local_scalar_dense requires_grad_ retain_grad retains_grad output_nr record_stream _assert_async _assert_scalar
    _assert_tensor_metadata _functional_assert_async _functional_assert_scalar sym_constrain_range
    sym_constrain_range_for_size _functional_sym_constrain_range _functional_sym_constrain_range_for_size
    _make_dep_token _print dense_dim sparse_dim _dimI _dimV _nnz qscheme q_scale q_zero_point q_per_channel_axis
    q_per_channel_scales q_per_channel_zero_points _debug_has_internal_overlap _fused_sdp_choice cudnn_is_acceptable
    _nnpack_available _use_cudnn_ctc_loss _use_miopen_ctc_loss _use_cudnn_rnn_flatten_weight _linalg_check_errors
    _nested_tensor_size _nested_tensor_strides _nested_tensor_storage_offsets _nested_get_offsets
    _nested_get_lengths _nested_get_ragged_idx _nested_get_min_seqlen _nested_get_max_seqlen
    _nested_get_jagged_dummy _nested_compute_contiguous_strides_offsets set_ resize_ resize resize_as_ resize_as
    _resize_output _resize_output_ _cufft_get_plan_cache_size _cufft_get_plan_cache_max_size
    _cufft_set_plan_cache_max_size _cufft_clear_plan_cache _validate_sparse_coo_tensor_args
    _validate_compressed_sparse_indices broadcast_shapes _infer_size _propagate_xla_data _add_batch_dim
    _remove_batch_dim get_device device element_size is_autocast_enabled
"""

COPIES = """
    clone copy copy_ _to_copy to type_as _to_cpu cpu cuda chalf _cast_Byte _cast_Char _cast_Double _cast_Float
    _cast_Half _cast_Int _cast_Long _cast_Short _foreach_copy _foreach_copy_ _foreach_clone _copy_from
    _copy_from_and_resize alias_copy as_strided_copy detach_copy diagonal_copy expand_copy permute_copy
    _reshape_alias_copy _reshape_copy select_copy slice_copy split_copy split_with_sizes_copy squeeze_copy t_copy
    transpose_copy unbind_copy unfold_copy unsqueeze_copy view_copy view_as_complex_copy view_as_real_copy
    _conj_copy _neg_view_copy _fw_primal_copy _make_dual_copy lift_fresh_copy narrow_copy values_copy indices_copy
    _values_copy _indices_copy crow_indices_copy col_indices_copy ccol_indices_copy row_indices_copy
    _nested_get_values_copy _nested_view_from_buffer_copy _nested_view_from_jagged_copy cat concat concatenate
    _chunk_cat stack _stack hstack vstack dstack row_stack column_stack block_diag flatten_dense_tensors meshgrid
    cartesian_prod combinations repeat repeat_interleave tile roll rot90 flip fliplr flipud pad _pad_enum
    _pad_circular constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d
    replication_pad2d replication_pad3d pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle im2col
    complex tril tril_ triu triu_ diag diag_embed diagflat to_dense _to_dense to_mkldnn to_padded_tensor
    _reshape_from_tensor _mkldnn_reshape _mkldnn_transpose _mkldnn_transpose_ mkldnn_reorder_conv2d_weight
    mkldnn_reorder_conv3d_weight _cudnn_rnn_flatten_weight fft_fftshift fft_ifftshift upsample_nearest1d
    upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d
    _upsample_nearest_exact3d __upsample_nearest max_unpool2d max_unpool3d pad_sequence _pack_padded_sequence
    _pad_packed_sequence _pack_sequence _nested_from_padded _nested_from_padded_tensor nested_to_padded_tensor
    _nested_from_padded_and_nested_example _nested_tensor_from_mask _nested_tensor_from_mask_left_aligned
    _nested_tensor_from_tensor_list _jagged_to_padded_dense_forward _padded_dense_to_jagged_forward
    _convert_weight_to_int4pack _convert_weight_to_int4pack_for_cpu _dyn_quant_pack_4bit_weight
    fbgemm_pack_gemm_matrix_fp16 fbgemm_pack_quantized_matrix
"""

INDEXING = """
    index _unsafe_index _unsafe_masked_index index_select index_copy index_copy_ index_fill index_fill_ gather take
    take_along_dim scatter scatter_ select_scatter slice_scatter diagonal_scatter as_strided_scatter masked_fill
    masked_fill_ masked_scatter masked_scatter_ masked_select nonzero nonzero_numpy nonzero_static argwhere
    fill_diagonal_
"""

# Memory that is not written to.
ALLOCATIONS = """
    empty empty_like empty_strided empty_permuted new_empty new_empty_strided _efficientzerotensor
"""

FACTORIES = """
    arange new_full new_ones new_zeros _new_zeros_with_same_feature_meta zeros zeros_like zero zero_ _foreach_zero
    _foreach_zero_
    ones ones_like full full_like fill fill_ eye linspace logspace range scalar_tensor tensor as_tensor tril_indices
    triu_indices from_file bartlett_window blackman_window hamming_window hann_window kaiser_window fft_fftfreq
    fft_rfftfreq _dim_arange _no_grad_zero_ _no_grad_fill_
"""

RANDOM = """
    rand rand_like randn randn_like randint randint_like randperm random random_ uniform uniform_ normal normal_
    normal_functional bernoulli bernoulli_ binomial cauchy cauchy_ exponential exponential_ geometric geometric_
    log_normal log_normal_ multinomial poisson _standard_gamma _sample_dirichlet _sobol_engine_draw
    _cudnn_init_dropout_state _no_grad_normal_ _no_grad_uniform_ _philox_normal _philox_normal_ _philox_uniform
    _philox_uniform_ _philox_key_fold_in _philox_key_split _fill_mem_eff_dropout_mask_
"""

_PRIMS = """
    as_strided as_strided_scatter broadcast_in_dim cat clone collapse collapse_view conj convert_element_type
    copy_strided copy_to device_put empty empty_permuted empty_strided fill full full_like imag iota item
    maximum_value minimum_value normal real reshape resize rev scalar_tensor split_dim squeeze transpose uniform
    view_of view_of_dtype _make_token _sink_tokens
"""

# Data on its way between processes; what a reduction adds up there is no work of this one.
_COLLECTIVES = """
    all_gather_into_tensor all_gather_into_tensor_coalesced all_gather_into_tensor_out all_reduce all_reduce_
    all_reduce_coalesced all_reduce_coalesced_ all_to_all_single broadcast broadcast_ reduce_scatter_tensor
    reduce_scatter_tensor_coalesced reduce_scatter_tensor_out wait_tensor _wrap_tensor_autograd
"""

# Operators whose outputs are the input's own bytes, fresh ones or no tensor: nothing is read or written.
UNMOVED = frozenset(f"aten.{name}" for name in (VIEWS + METADATA + ALLOCATIONS).split())


@formula(
    *UNMOVED,
    *(f"aten.{name}" for name in (COPIES + INDEXING + FACTORIES + RANDOM).split()),
    *(f"prims.{name}" for name in _PRIMS.split()),
    *(f"_c10d_functional.{name}" for name in _COLLECTIVES.split()), "_dtensor.shard_dim_alltoall",
    "mkldnn._reorder_convolution_weight", "mkldnn._reorder_linear_weight", "mkl._mkl_reorder_linear_weight",
    "mkldnn._reorder_convolution_transpose_weight", "mkldnn._reorder_mkldnn_rnn_layer_weight",
    # where with a condition alone is nonzero
    "aten.where.default",
)  # fmt: skip
def free(*_: Any, outputs: Any, **named: Any) -> Cost:
    """Zero MACs and zero scalar operations.

    >>> free(outputs=())
    Cost(macs=0, elementwise=0, causal_macs=None, at_least=False)
    """
    return _NOTHING
