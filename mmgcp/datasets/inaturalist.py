"""iNaturalist in the layout of its competitions."""

import os

from mmengine.dataset import BaseDataset

from mmgcp.registry import DATASETS

from .checking import DataError, read_coco


@DATASETS.register_module()
class INaturalist(BaseDataset):
    """Images with one species each, as ``train2017.json`` and its like list them.

    A sample has ``img_path`` and ``gt_label``, the place of the species among the
    ``categories`` in the order of their ids. Names of images begin at ``data_root``.

    Raises:
        DataError: The file is no such list, or an image has no species.

    G. Van Horn et al., "The iNaturalist Species Classification and Detection Dataset",
    CVPR 2018.
    """

    def load_data_list(self) -> list[dict]:
        """List the images."""
        content = read_coco(self.ann_file)
        categories = sorted(content['categories'], key=lambda item: item['id'])
        self._metainfo['classes'] = tuple(item['name'] for item in categories)
        places = {item['id']: place for place, item in enumerate(categories)}
        species = {a['image_id']: a['category_id'] for a in content['annotations']}
        listed = []
        for image in content['images']:
            if species.get(image['id']) not in places:
                raise DataError(
                    f'{self.ann_file}: {image["file_name"]} has no annotation with one '
                    'of the categories. Use the file of the training or validation '
                    'images, not that of the test images'
                )
            path = os.path.join(self.data_root, image['file_name'])
            listed.append(dict(img_path=path, gt_label=places[species[image['id']]]))
        return listed
