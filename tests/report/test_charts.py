"""Bars as HTML."""

import xml.etree.ElementTree as ET

from mobileone.report.charts import bar_list


def test_a_bar_is_as_long_as_its_share_and_carries_its_words():
    html = bar_list([("stem <1>", [(0.25, "2 ms & more", ""), (1.0, "8 ms", " slow")]), ("head", [])])
    root = ET.fromstring(html)
    names = [each.text for each in root.iter("div") if each.get("class") == "name"]
    assert names == ["stem <1>", "head"]
    bars = [(each.get("class"), each.get("style")) for each in root.iter("div") if each.get("style")]
    assert bars == [("bar", "--share:0.2500"), ("bar slow", "--share:1.0000")]
    assert [each.text for each in root.iter("span")] == ["2 ms & more", "8 ms"]
