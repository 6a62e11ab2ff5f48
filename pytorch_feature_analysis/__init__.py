"""Representational similarity analysis of neural networks, as data frames."""

from pytorch_feature_analysis._files import filedelete, pickle_dump, pickle_read
from pytorch_feature_analysis._parallel import parallel_process
from pytorch_feature_analysis._version import __version__
from pytorch_feature_analysis.activations import (
    capture,
    get_model_activations_for_image,
    list_layers,
)
from pytorch_feature_analysis.aggregation import df_agg, df_pivot
from pytorch_feature_analysis.csv_files import combine_csvs, create_or_append_csv
from pytorch_feature_analysis.dataframes import df_filter, df_filtsort, df_inds2cols, df_subset
from pytorch_feature_analysis.dissimilarity import compute_rdm, corr_dissim, dissim_defs
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
from pytorch_feature_analysis.layers import fetch_layers, index_nested
from pytorch_feature_analysis.matrices import (
    almost_equals,
    correlate_upper_triang,
    get_array_ranks,
    get_upper_triang,
    stderr,
)
from pytorch_feature_analysis.meta_rdms import get_meta_rdms
from pytorch_feature_analysis.models import prepare_model, prepare_models
from pytorch_feature_analysis.plotting.mds import mds_coordinates, my_mds, rdm_mds
from pytorch_feature_analysis.rdm_stack import check_rdm_stack
from pytorch_feature_analysis.rdms import get_rdms
from pytorch_feature_analysis.selection import get_extreme_dissims_total
from pytorch_feature_analysis.stack_files import read_rdms, write_rdms
from pytorch_feature_analysis.stack_schema import stack_columns
from pytorch_feature_analysis.stack_subset import subset_rdm_df
