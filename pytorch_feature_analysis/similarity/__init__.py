"""Measures of similarity between two representations of the same stimuli, one family a file."""

from pytorch_feature_analysis.similarity._measure import Measure as Measure
from pytorch_feature_analysis.similarity.cca import CCA
from pytorch_feature_analysis.similarity.cka import LINEAR_CKA, RBF_CKA
from pytorch_feature_analysis.similarity.neighbors import NEIGHBORS
from pytorch_feature_analysis.similarity.predictivity import LINEAR_PREDICTIVITY
from pytorch_feature_analysis.similarity.rdm_agreement import DISTANCE_CORRELATION, RSA
from pytorch_feature_analysis.similarity.shape import PROCRUSTES

MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        LINEAR_CKA,
        RBF_CKA,
        *CCA,
        *PROCRUSTES,
        DISTANCE_CORRELATION,
        RSA,
        *NEIGHBORS,
        LINEAR_PREDICTIVITY,
    )
}
"""All measures by name, with what is known of each."""
