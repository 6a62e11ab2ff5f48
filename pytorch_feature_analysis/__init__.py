"""Representational similarity analysis of neural networks, and meta-RDMs, as data frames.

A stack is a plain pandas DataFrame with one RDM a row: the matrix in the column `matrix`, all
that is known of it in the others. Every analysis takes a frame and gives a frame.

Images
    `read_image_folder`, `package_image_sets`, `load_image`, `preprocess_image`,
    `standard_transform`, `shrink_image`, `alphatize_image`, `nonwhite_pixel_mask`, `save_mask`
Networks
    `prepare_models`, `prepare_model`, `list_layers`, `fetch_layers`, `index_nested`, `capture`,
    `get_model_activations_for_image`
Models and stimuli of a study
    `read_model_table`, `select_models`, `table_models`, `stratified_subset`, `per_class_subset`,
    `save_subset`, `read_subset`
RDMs of every order
    `get_rdms`, `plan_rdms`, `get_meta_rdms`, `get_mean_rdms`, `compute_rdm`, `corr_dissim`,
    `dissim_defs`
Stacks and their files
    `read_rdms`, `write_rdms`, `check_rdm_stack`, `subset_rdm_df`, `stack_columns`; what a stack is
    made of, `stack_lineage` and, as a paper says it, `methods_text`; to and from another package,
    `to_rsatoolbox` and `from_rsatoolbox`
Pictures
    `rdm_mds` (also `my_mds`), `plot_mds_panels`, `plot_shepard`, `mds_coordinates`,
    `aligned_mds_coordinates`, `plot_rdm`, `plot_heatmap`, `linkage_order`, `plot_layers`,
    `plot_stack_graph`, `plot_metric_comparison`, `plot_measure_comparison`, `style_similarity`,
    `plot_montage`. As a page, to be explored in a browser: `explore`; to be read: `write_report`.
    Of a study of many models on many datasets: `plot_dataset_scatter`, `plot_similarity_spread`,
    `plot_consistency_boxes`, `plot_model_map`, `plot_similarity_against_gap`, `plot_sample_sizes`
Choice of stimuli
    `select_stimuli`, `max_disagreement`, `get_extreme_dissims_total`, `selection_report`,
    `get_dissims_that_match`, `get_most_uniform_dissims`
Units, and what RDMs are about
    `compute_etas` (also `compute_etas_for_model_and_imageset_fast`), `selectivity`,
    `compute_tolerances`, `category_index`
How alike two representations are
    `linear_cka`, `rbf_cka`, `minibatch_cka`, `hsic`, `cca`, `svcca`, `svcca_coefficients`,
    `pwcca`, `dft_cca`, `pls`, `pca`, `procrustes_distance`, `angular_procrustes`,
    `shape_distance`, `nbs`, `distance_correlation`, `rsa`, `compare_rdms`, `mutual_knn`,
    `jaccard_knn`, `linear_predictivity`, `conv_samples`; `MEASURES` says what is known of each.
    `get_activations`, `read_activations` and `read_features` (of what `extract_features` keeps)
    give what is compared, `get_similarity_rdms` and `get_minibatch_cka` make stacks,
    `to_similarity` turns back, `calibrate_similarity` sets them beside chance.
    What the choice of one changes: `compare_rdm_metrics`, `compare_measures`,
    `sample_size_sensitivity`
Networks layer by layer
    `get_net_similarity`, `grid_groups`, `similarity_table`, `layerwise_table`, `correlate_with`
RDMs of measured patterns: voxels, sensors, neurons
    `get_pattern_rdms` (cross-validated, in units of noise), `get_pattern_design`,
    `noise_covariance`
How well RDMs fit those of brains, or of a model
    `compare_to_reference`, `compare_fits`, `regress_rdms`, `permutation_test` (a
    `PermutationTest`), `noise_ceiling`, `reliability`; `categorical_rdm`, `rdm_from_features` and
    `stack_from_matrices` make references
Whether models alike on one dataset are alike on another
    `get_consistency`, `get_consistency_rdms`, `compare_consistency`; `run_study` and `plan_study`
    do all of it from one file
What can be told from patterns
    `run_2way_svm_analysis`, `get_decoding_rdms`
How well networks do
    `train_linear_probe`, `fit_linear_probe`, `combine_features`, `score_probabilities`,
    `probe_models`; `link_to_performance` and `get_performance_gaps` set the similarity of
    networks beside it
Frames and tables
    `df_filter` (also `df_subset`), `df_filtsort`, `df_agg`, `df_pivot`, `df_inds2cols`,
    `create_or_append_csv`, `combine_csvs`
Small helpers
    `get_upper_triang`, `correlate_upper_triang`, `get_array_ranks`, `stderr`, `almost_equals`,
    `parallel_process`, `pickle_read`, `pickle_dump`, `filedelete`

Where to begin: `get_rdms`. On the command line: ``pfa --help``.
"""

from pytorch_feature_analysis._files import filedelete, pickle_dump, pickle_read
from pytorch_feature_analysis._parallel import parallel_process
from pytorch_feature_analysis._version import __version__ as __version__
from pytorch_feature_analysis.activation_files import read_activations
from pytorch_feature_analysis.activation_frames import get_activations
from pytorch_feature_analysis.activations import (
    capture,
    get_model_activations_for_image,
    list_layers,
)
from pytorch_feature_analysis.aggregation import df_agg, df_pivot
from pytorch_feature_analysis.anova import (
    compute_etas,
    compute_etas_for_model_and_imageset_fast,
)
from pytorch_feature_analysis.bridges.rsatoolbox import from_rsatoolbox, to_rsatoolbox
from pytorch_feature_analysis.comparisons import get_similarity_rdms
from pytorch_feature_analysis.consistency import get_consistency
from pytorch_feature_analysis.consistency_contrasts import compare_consistency
from pytorch_feature_analysis.consistency_rdms import get_consistency_rdms
from pytorch_feature_analysis.csv_files import combine_csvs, create_or_append_csv
from pytorch_feature_analysis.dataframes import df_filter, df_filtsort, df_inds2cols, df_subset
from pytorch_feature_analysis.decoding import run_2way_svm_analysis
from pytorch_feature_analysis.decoding_rdms import get_decoding_rdms
from pytorch_feature_analysis.disagreement import max_disagreement
from pytorch_feature_analysis.dissimilarity import compute_rdm, corr_dissim, dissim_defs
from pytorch_feature_analysis.explorer import explore
from pytorch_feature_analysis.feature_store import read_features
from pytorch_feature_analysis.features import extract_features
from pytorch_feature_analysis.fit_contrasts import compare_fits
from pytorch_feature_analysis.image_folder import read_image_folder
from pytorch_feature_analysis.image_sets import package_image_sets
from pytorch_feature_analysis.images import (
    alphatize_image,
    load_image,
    nonwhite_pixel_mask,
    preprocess_image,
    save_mask,
    shrink_image,
    standard_transform,
)
from pytorch_feature_analysis.inference import compare_to_reference
from pytorch_feature_analysis.layer_studies import get_net_similarity, grid_groups
from pytorch_feature_analysis.layers import fetch_layers, index_nested
from pytorch_feature_analysis.linear_probe import score_probabilities
from pytorch_feature_analysis.linkage import linkage_order
from pytorch_feature_analysis.map_coordinates import aligned_mds_coordinates, mds_coordinates
from pytorch_feature_analysis.matrices import (
    almost_equals,
    correlate_upper_triang,
    get_array_ranks,
    get_upper_triang,
    stderr,
)
from pytorch_feature_analysis.mean_rdms import get_mean_rdms
from pytorch_feature_analysis.measure_comparison import compare_measures
from pytorch_feature_analysis.meta_rdms import get_meta_rdms
from pytorch_feature_analysis.methods import methods_text
from pytorch_feature_analysis.metric_comparison import compare_rdm_metrics
from pytorch_feature_analysis.minibatch import get_minibatch_cka
from pytorch_feature_analysis.model_probes import probe_models
from pytorch_feature_analysis.model_rdms import (
    categorical_rdm,
    rdm_from_features,
    stack_from_matrices,
)
from pytorch_feature_analysis.model_table import read_model_table, select_models
from pytorch_feature_analysis.models import prepare_model, prepare_models
from pytorch_feature_analysis.noise_ceilings import noise_ceiling, reliability
from pytorch_feature_analysis.noise_covariance import noise_covariance
from pytorch_feature_analysis.pair_correlations import correlate_with
from pytorch_feature_analysis.pattern_rdms import get_pattern_design, get_pattern_rdms
from pytorch_feature_analysis.performance import link_to_performance
from pytorch_feature_analysis.performance_gaps import get_performance_gaps
from pytorch_feature_analysis.permutation_tests import PermutationTest, permutation_test
from pytorch_feature_analysis.plotting.gaps import plot_similarity_against_gap
from pytorch_feature_analysis.plotting.heatmap import plot_heatmap
from pytorch_feature_analysis.plotting.layers import plot_layers
from pytorch_feature_analysis.plotting.mds import my_mds, rdm_mds
from pytorch_feature_analysis.plotting.mds_panels import plot_mds_panels
from pytorch_feature_analysis.plotting.metrics import (
    plot_measure_comparison,
    plot_metric_comparison,
)
from pytorch_feature_analysis.plotting.model_map import plot_model_map
from pytorch_feature_analysis.plotting.montage import plot_montage
from pytorch_feature_analysis.plotting.pairs import plot_dataset_scatter, plot_similarity_spread
from pytorch_feature_analysis.plotting.rdm import plot_rdm
from pytorch_feature_analysis.plotting.shepard import plot_shepard
from pytorch_feature_analysis.plotting.stack_graph import plot_stack_graph
from pytorch_feature_analysis.plotting.study import plot_consistency_boxes, plot_sample_sizes
from pytorch_feature_analysis.plotting.table import style_similarity
from pytorch_feature_analysis.probe_rows import combine_features
from pytorch_feature_analysis.probes import fit_linear_probe, train_linear_probe
from pytorch_feature_analysis.rdm_regression import regress_rdms
from pytorch_feature_analysis.rdm_stack import check_rdm_stack
from pytorch_feature_analysis.rdms import get_rdms, plan_rdms
from pytorch_feature_analysis.report import write_report
from pytorch_feature_analysis.sample_sizes import sample_size_sensitivity
from pytorch_feature_analysis.selection_reports import selection_report
from pytorch_feature_analysis.similarity import MEASURES
from pytorch_feature_analysis.similarity.cca import cca, pwcca, svcca, svcca_coefficients
from pytorch_feature_analysis.similarity.cka import linear_cka, minibatch_cka, rbf_cka
from pytorch_feature_analysis.similarity.components import pca, pls
from pytorch_feature_analysis.similarity.conv_samples import conv_samples
from pytorch_feature_analysis.similarity.dft_cca import dft_cca
from pytorch_feature_analysis.similarity.hsic import hsic
from pytorch_feature_analysis.similarity.neighbors import jaccard_knn, mutual_knn
from pytorch_feature_analysis.similarity.predictivity import linear_predictivity
from pytorch_feature_analysis.similarity.rdm_agreement import (
    compare_rdms,
    distance_correlation,
    rsa,
)
from pytorch_feature_analysis.similarity.shape import (
    angular_procrustes,
    nbs,
    procrustes_distance,
    shape_distance,
)
from pytorch_feature_analysis.similarity_scores import calibrate_similarity, to_similarity
from pytorch_feature_analysis.similarity_tables import layerwise_table, similarity_table
from pytorch_feature_analysis.stack_files import read_rdms, write_rdms
from pytorch_feature_analysis.stack_lineage import stack_lineage
from pytorch_feature_analysis.stack_schema import stack_columns
from pytorch_feature_analysis.stack_subset import subset_rdm_df
from pytorch_feature_analysis.stimuli import select_stimuli
from pytorch_feature_analysis.stimulus_subsets import per_class_subset, stratified_subset
from pytorch_feature_analysis.study import plan_study, run_study
from pytorch_feature_analysis.subset_files import read_subset, save_subset
from pytorch_feature_analysis.subsets import get_extreme_dissims_total
from pytorch_feature_analysis.table_models import table_models
from pytorch_feature_analysis.target_subsets import (
    get_dissims_that_match,
    get_most_uniform_dissims,
)
from pytorch_feature_analysis.tolerance import category_index, compute_tolerances, selectivity

__all__ = [
    "MEASURES",
    "PermutationTest",
    "aligned_mds_coordinates",
    "almost_equals",
    "alphatize_image",
    "angular_procrustes",
    "calibrate_similarity",
    "capture",
    "categorical_rdm",
    "category_index",
    "cca",
    "check_rdm_stack",
    "combine_csvs",
    "combine_features",
    "compare_consistency",
    "compare_fits",
    "compare_measures",
    "compare_rdm_metrics",
    "compare_rdms",
    "compare_to_reference",
    "compute_etas",
    "compute_etas_for_model_and_imageset_fast",
    "compute_rdm",
    "compute_tolerances",
    "conv_samples",
    "corr_dissim",
    "correlate_upper_triang",
    "correlate_with",
    "create_or_append_csv",
    "df_agg",
    "df_filter",
    "df_filtsort",
    "df_inds2cols",
    "df_pivot",
    "df_subset",
    "dft_cca",
    "dissim_defs",
    "distance_correlation",
    "explore",
    "extract_features",
    "fetch_layers",
    "filedelete",
    "fit_linear_probe",
    "from_rsatoolbox",
    "get_activations",
    "get_array_ranks",
    "get_consistency",
    "get_consistency_rdms",
    "get_decoding_rdms",
    "get_dissims_that_match",
    "get_extreme_dissims_total",
    "get_mean_rdms",
    "get_meta_rdms",
    "get_minibatch_cka",
    "get_model_activations_for_image",
    "get_most_uniform_dissims",
    "get_net_similarity",
    "get_pattern_design",
    "get_pattern_rdms",
    "get_performance_gaps",
    "get_rdms",
    "get_similarity_rdms",
    "get_upper_triang",
    "grid_groups",
    "hsic",
    "index_nested",
    "jaccard_knn",
    "layerwise_table",
    "linear_cka",
    "linear_predictivity",
    "link_to_performance",
    "linkage_order",
    "list_layers",
    "load_image",
    "max_disagreement",
    "mds_coordinates",
    "methods_text",
    "minibatch_cka",
    "mutual_knn",
    "my_mds",
    "nbs",
    "noise_ceiling",
    "noise_covariance",
    "nonwhite_pixel_mask",
    "package_image_sets",
    "parallel_process",
    "pca",
    "per_class_subset",
    "permutation_test",
    "pickle_dump",
    "pickle_read",
    "plan_rdms",
    "plan_study",
    "plot_consistency_boxes",
    "plot_dataset_scatter",
    "plot_heatmap",
    "plot_layers",
    "plot_mds_panels",
    "plot_measure_comparison",
    "plot_metric_comparison",
    "plot_model_map",
    "plot_montage",
    "plot_rdm",
    "plot_sample_sizes",
    "plot_shepard",
    "plot_similarity_against_gap",
    "plot_similarity_spread",
    "plot_stack_graph",
    "pls",
    "prepare_model",
    "prepare_models",
    "preprocess_image",
    "probe_models",
    "procrustes_distance",
    "pwcca",
    "rbf_cka",
    "rdm_from_features",
    "rdm_mds",
    "read_activations",
    "read_features",
    "read_image_folder",
    "read_model_table",
    "read_rdms",
    "read_subset",
    "regress_rdms",
    "reliability",
    "rsa",
    "run_2way_svm_analysis",
    "run_study",
    "sample_size_sensitivity",
    "save_mask",
    "save_subset",
    "score_probabilities",
    "select_models",
    "select_stimuli",
    "selection_report",
    "selectivity",
    "shape_distance",
    "shrink_image",
    "similarity_table",
    "stack_columns",
    "stack_from_matrices",
    "stack_lineage",
    "standard_transform",
    "stderr",
    "stratified_subset",
    "style_similarity",
    "subset_rdm_df",
    "svcca",
    "svcca_coefficients",
    "table_models",
    "to_rsatoolbox",
    "to_similarity",
    "train_linear_probe",
    "write_rdms",
    "write_report",
]
