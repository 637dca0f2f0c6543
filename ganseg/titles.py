"""How models and metrics are called wherever people read them, and which side of a metric is better."""

from typing import NamedTuple

MODELS = {  # the rows of Fig. 9 in the paper's order, the first in two readings: variant, and what is disabled
    "paper+no-points": "no points",
    "paper+no-points-own-centres": "no points, losses around own centres",
    "paper+no-background": "no separate background",
    "paper+no-points+no-background": "neither points nor background",
    "paper+no-concentration": "no concentration loss",
    "paper+no-area": "no area loss",
    "paper": "full model",
}
HEADS = {"variant": "Model", "parts": "K", "train_images": "Training images"}


class Title(NamedTuple):
    """A metric in words; `better`: +1 higher, -1 lower, 0 neither."""

    words: str  # as the claims ledger and the command line word it
    better: int = 0
    short: str = ""  # in the columns of tables, where that is not the words

    @property
    def title(self) -> str:
        """Within a sentence, short."""
        return self.short or self.words

    @property
    def arrowed(self) -> str:
        """The title on top of a column, with an arrow to the better side."""
        return self.title[0].upper() + self.title[1:] + ("", " ↑", " ↓")[self.better]


# In the order in which they are listed. The last six are of a study or a training, not of metrics.json.
TITLES = {
    "iou": Title("foreground IoU", +1),
    "iou_constant_mask": Title("IoU of the best constant mask"),
    "iou_dataset": Title("foreground IoU, pixels pooled"),
    "iou_oracle": Title("foreground IoU, the better of mask and complement"),
    "box_iou": Title("IoU of the foreground's box", +1),
    "box_iou_constant": Title("IoU of the average box"),
    "box_share": Title("share of the foreground inside the box", +1),
    "box_share_constant": Title("share of the average box inside the box"),
    "nmi_both": Title("NMI of parts, where both have foreground", +1, short="NMI"),
    "ari_both": Title("ARI of parts, where both have foreground", +1, short="ARI"),
    "nmi_foreground": Title("NMI of parts", +1, short="NMI"),  # on the true foreground
    "ari_foreground": Title("ARI of parts", +1, short="ARI"),
    "nmi_all": Title("NMI of parts, on all pixels"),
    "ari_all": Title("ARI of parts, on all pixels"),
    "nmi_keypoints": Title("NMI of parts and visible keypoints"),
    "ari_keypoints": Title("ARI of parts and visible keypoints"),
    "landmark_error": Title("landmark error", -1),
    "landmark_error_ratio": Title("landmark error over that of average landmarks", -1, short="landmark error ratio"),
    "landmark_error_mean": Title("landmark error of average landmarks"),
    "landmark_error_centred": Title("landmark error, origin at the image's centre"),
    "landmark_error_affine": Title("landmark error, regression with a bias"),
    "landmark_error_object": Title("landmark error over the object's size"),
    "landmark_error_object_mean": Title("the same of average landmarks"),
    "landmark_error_inter_ocular": Title("landmark error over the distance of the eyes"),
    "landmark_error_inter_ocular_mean": Title("the same of average landmarks"),
    "landmark_error_edge": Title("landmark error over the image's edge"),
    "landmark_error_edge_mean": Title("the same of average landmarks"),
    "taichi_mae": Title("MAE of keypoints", -1),  # of Table 3, in pixels of 256
    "taichi_mae_mean": Title("MAE of average keypoints"),
    "taichi_mae_l2": Title("MAE of keypoints, sum of distances"),
    "taichi_mae_l2_mean": Title("the same of average keypoints"),
    "foreground_fraction": Title("foreground share", short="foreground, found"),
    "part_usage": Title("fraction of images that show each part"),
    "components_per_part": Title("pieces per visible part", -1, "pieces per part, found"),
    "equivariance_error": Title("equivariance error (shifts)", -1, short="equivariance error"),
    "lingering_parts": Title("fraction of images hiding a part where it is found", short="lingering of hidden parts"),
    "swapped_ends": Title("fraction of images with front and back exchanged", short="exchange of front and back"),
    "moved_part": Title("error of a moved part"),  # change of its pixels, over that of a still image
    "embedding_leak": Title("leak of embeddings", -1),  # change of other parts' pixels, over that of its own
    "mask_blur": Title("softness of masks", -1),  # 0 is sharp
    "frechet_distance": Title("Fréchet distance", -1),  # relative, of random features
    "test_images": Title("number of test images"),
    "iou_images": Title("number of images with a mask"),
    "regression_images": Title("images that landmarks are regressed on"),
    "train_images": Title("number of training images"),
    "vanished_parts": Title("number of vanished parts", -1, "vanished parts, found"),
    "generated_pieces": Title("pieces per generated part", -1, "pieces per part, generated"),
    "generated_vanished": Title("number of parts that no sample shows", -1, "vanished parts, generated"),
    "collapsed": Title("share of collapsed runs", -1),
    "generated_foreground": Title("foreground, generated"),
}
