"""Where rows come from: files, TFDS data sets, and what the user hands over. Only
`tfds` uses the network, on request.

`source` is the rows of a split by column. `opening` makes one from whatever holds the rows;
`formats` reads files, `sentences` files of tagged words, `image_files` folders of images, `tfds`
data sets that TFDS prepared before, and `locations` says where all of these lie. `labels` turns
classes into numbers; `holdout` takes validation rows from the training rows, by the `hashes` of
their content.
"""
