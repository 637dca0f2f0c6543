"""How each metric is called wherever people read it, which side of it is better, and its digits."""

from __future__ import annotations

from typing import NamedTuple


class Title(NamedTuple):
    """A metric in words; `better`: +1 higher, -1 lower, 0 neither."""

    meaning: str  # in full, as the command line lists it
    title: str = ""  # within a sentence, short
    better: int = 0
    digits: int = 3
    claimed: str = ""  # as the claims ledger words it, where that is not the title

    @property
    def head(self) -> str:
        """The title on top of a column."""
        return self.title[0].upper() + self.title[1:]

    @property
    def arrowed(self) -> str:
        """The same with an arrow to the better side."""
        return self.head + ("", " ↑", " ↓")[self.better]

    @property
    def words(self) -> str:
        """As the claims ledger words it."""
        return self.claimed or self.title or self.meaning


# In the order in which they are listed. The last six are of a study or a training, not of metrics.json.
TITLES = {
    "iou": Title("IoU of the foreground", "foreground IoU", +1),
    "iou_constant_mask": Title("IoU of the best constant mask, mean of images", "IoU of the best constant mask"),
    "iou_image": Title("IoU of the foreground, mean of images"),
    "iou_dataset": Title("IoU of the foreground, pixels pooled"),
    "iou_oracle": Title("IoU of the better of mask and complement"),
    "iou_no_oracle": Title("IoU of the foreground, without the oracle"),
    "nmi_both": Title("NMI of the parts, where both have foreground", "NMI", +1),
    "ari_both": Title("ARI of the parts, where both have foreground", "ARI", +1),
    "nmi_foreground": Title("NMI of the parts, on the true foreground", "NMI", +1, claimed="NMI of parts"),
    "ari_foreground": Title("ARI of the parts, on the true foreground", "ARI", +1, claimed="ARI of parts"),
    "nmi_all": Title("NMI of the parts, on all pixels"),
    "ari_all": Title("ARI of the parts, on all pixels"),
    "nmi_keypoints": Title("NMI of parts and visible keypoints"),
    "ari_keypoints": Title("ARI of parts and visible keypoints"),
    "landmark_error": Title("landmark error", "landmark error", -1),
    "landmark_error_mean": Title("landmark error of the mean predictor"),
    "landmark_error_ratio": Title("ratio of the two", "landmark error ratio", -1,
                                  claimed="landmark error over that of average landmarks"),
    "landmark_error_released": Title("landmark error, origin in the top-left corner"),
    "landmark_error_centred": Title("landmark error, origin at the image's centre"),
    "landmark_error_affine": Title("landmark error, regression with a bias"),
    "landmark_error_object": Title("landmark error over the object's size"),
    "landmark_error_object_mean": Title("the same of the mean predictor"),
    "landmark_error_inter_ocular": Title("landmark error over the distance of the eyes"),
    "landmark_error_inter_ocular_mean": Title("the same of the mean predictor"),
    "landmark_error_edge": Title("landmark error over the image's edge"),
    "landmark_error_edge_mean": Title("the same of the mean predictor"),
    "taichi_mae": Title("MAE of Table 3, in pixels of 256", "MAE of keypoints", -1, 1),
    "taichi_mae_mean": Title("MAE of the mean predictor"),
    "taichi_mae_l1": Title("MAE, sum over coordinates"),
    "taichi_mae_l1_mean": Title("the same of the mean predictor"),
    "taichi_mae_l2": Title("MAE, sum of distances"),
    "taichi_mae_l2_mean": Title("the same of the mean predictor"),
    "foreground_fraction": Title("fraction of pixels in the foreground", "foreground, found",
                                 claimed="foreground share"),
    "part_usage": Title("fraction of images that show each part"),
    "part_areas": Title("mean area of each part"),
    "components_per_part": Title("connected components of a part (1 is best)", "pieces per part, found", -1, 2,
                                 "pieces per visible part"),
    "equivariance_error": Title("equivariance error under shifts (0 is best)", "equivariance error", -1,
                                claimed="equivariance error (shifts)"),
    "equivariance_error_affine": Title("equivariance error under turns and scalings"),
    "lingering_parts": Title("fraction of images hiding a part where it is found", "lingering of hidden parts"),
    "swapped_ends": Title("fraction of images with front and back exchanged", "exchange of front and back"),
    "moved_part": Title("change of a moved part's pixels, over that of a still image", "error of a moved part"),
    "embedding_leak": Title("change of other parts' pixels with an embedding, over that of its own",
                            "leak of embeddings", -1),
    "mask_blur": Title("softness of generated masks (0 is sharp)", "softness of masks", -1),
    "fid": Title("FID of generated images", "FID", -1),
    "frechet_distance": Title("Frechet distance of generated images, random features (0 is best)",
                              "Fréchet distance", -1),
    "frechet_images": Title("generated images that were compared with real ones"),
    "test_images": Title("test images", "number of test images", digits=0),
    "iou_images": Title("test images with a mask", "number of images with a mask", digits=0),
    "regression_images": Title("images that landmarks are regressed on"),
    "train_images": Title("training images", "number of training images", digits=0),
    "vanished_parts": Title("parts that hardly any test image shows", "vanished parts, found", -1, 1,
                            "number of vanished parts"),
    "generated_pieces": Title("connected components of a generated part", "pieces per part, generated", -1, 2,
                              "pieces per generated part"),
    "generated_vanished": Title("parts that hardly any sample shows", "vanished parts, generated", -1, 1,
                                "number of parts that no sample shows"),
    "collapsed": Title("whether foreground or parts are gone", "share of collapsed runs", -1),
    "generated_foreground": Title("fraction of pixels in the foreground of samples", "foreground, generated"),
}  # fmt: skip
