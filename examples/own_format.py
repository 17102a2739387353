"""A data format of your own: texts and classes in an XML file, for a recipe of the zoo.

    python examples/own_format.py reviews.xml

In the shell:

    zoo train examples/own_format.py:from_xml --data.train reviews.xml --workdir runs/xml
    zoo predict runs/xml "a fine film"
    zoo export runs/xml --out out/xml
"""

import sys
import xml.etree.ElementTree as ElementTree

import zoo
from zoo.pipelines import file_format


@file_format(".xml")
def read_xml(path):
    rows = ElementTree.parse(path).getroot().findall("review")
    return {"text": [row.text for row in rows], "label": [row.get("label") for row in rows]}


def from_xml(file="reviews.xml"):
    return zoo.override(zoo.recipe("bag_of_embeddings_file"), {"data.train": (file,)})


if __name__ == "__main__":
    zoo.fit(from_xml(*sys.argv[1:]), "runs/xml")
    print(zoo.load("runs/xml")("a fine film"))
    zoo.export("runs/xml", "out/xml")
