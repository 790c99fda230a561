"""telemetra by Spark alone: which messages are good, which come too late, and what is in each window.

usage: spark.py <messages> <answer> <scratch folder> <folder of the word lists>

`messages` has a line of JSON for each: topic, place, part and the bytes of its value in base64. Parts come one after another,
and what is late in one is judged by the parts before it.
"""

import json
import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

messages, answer, scratch, words = sys.argv[1:]
lexicon = json.load(open(f"{words}/lexicon.json"))
emotes = json.load(open(f"{words}/emotes.json"))

spark = (
    SparkSession.builder.master("local[2]")
    .appName("telemetra")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    # it ends before the slower compiler would pay off
    .config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1")
    .config("spark.ui.enabled", "false")
    .config("spark.local.dir", f"{scratch}/local")
    .config("spark.sql.warehouse.dir", f"{scratch}/warehouse")
    .config("spark.sql.session.timeZone", "UTC")
    # one for each core: the default of 200 is for clusters
    .config("spark.sql.shuffle.partitions", "2")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")


def kind(name):
    return F.expr(f"schema_of_variant(try_variant_get(message, '$[0].{name}', 'variant'))")


def value(name, type):
    return F.expr(f"try_variant_get(message, '$[0].{name}', '{type}')")


def is_text(name):
    return kind(name) == "STRING"


def has_text(name):
    return is_text(name) & (value(name, "string") != "")


def or_absent(name, *kinds):
    return kind(name).isNull() | kind(name).isin("VOID", *kinds)


# As a value of its source for Kafka, which is bytes. In a list, for Spark reads no further than the end of a first value:
# two that follow each other are no list.
read = (
    spark.read.schema("topic string, place string, part int, value string")
    .json(messages)
    .withColumn("text", F.expr("cast(unbase64(value) as string)"))
    .withColumn("message", F.expr("try_parse_json('[' || text || ']')"))
    .select(
        "topic",
        "place",
        "part",
        F.expr("is_valid_utf8(text) and message is not null").alias("is_json"),
        F.expr("schema_of_variant(message) like 'ARRAY<OBJECT<%'").alias("is_object"),
        F.expr("try_variant_get(message, '$[1]', 'variant') is null").alias("is_one"),
        F.when(kind("timestamp") == "BIGINT", F.timestamp_millis(value("timestamp", "bigint")))
        .when(is_text("timestamp"), F.expr("try_cast(try_variant_get(message, '$[0].timestamp', 'string') as timestamp)"))
        .alias("at"),
        has_text("stream_id").alias("has_stream"),
        (has_text("user_id") & is_text("message")).alias("has_chat"),
        (or_absent("event_id", "STRING") & or_absent("username", "STRING")).alias("names_fit"),
        or_absent("emotes", "ARRAY<STRING>", "ARRAY<VOID>").alias("emotes_fit"),
        ((kind("viewer_count") == "BIGINT") & (value("viewer_count", "bigint") >= 0)).alias("has_viewers"),
        value("stream_id", "string").alias("stream_id"),
        value("user_id", "string").alias("user_id"),
        value("message", "string").alias("said"),
        value("emotes", "array<string>").alias("emotes"),
        value("viewer_count", "bigint").alias("viewer_count"),
    )
)
is_chat = F.col("topic").endswith(".chat")
fits = F.when(is_chat, F.expr("has_chat and names_fit and emotes_fit")).otherwise(F.col("has_viewers"))
is_good = F.expr("is_json and is_object and is_one and has_stream and at is not null") & fits
judged = read.withColumn("is_good", F.coalesce(is_good, F.lit(False))).cache()

# The watermark before a part is ten seconds behind the newest message of the parts before it, in the topic that is behind.
newest = judged.where("is_good").groupBy("topic", "part").agg(F.max("at").alias("newest"))
parts = judged.select("part").distinct().alias("p")
seen = parts.join(newest.alias("n"), F.expr("n.part < p.part")).groupBy("p.part", "n.topic").agg(F.max("newest").alias("newest"))
marks = seen.groupBy("part").agg((F.min("newest") - F.expr("interval 10 seconds")).alias("watermark"))

# A message is in each of its windows that is open still, and is late when none is.
opened = (
    judged.where("is_good")
    .withColumn("win", F.window("at", "1 minute", "10 seconds"))
    .join(F.broadcast(marks), "part", "left")
    .where("watermark is null or win.end > watermark")
    .select("topic", "place", "stream_id", "win", "user_id", "said", "emotes", "viewer_count")
    .cache()
)


def among(texts):
    return "(" + ", ".join("'" + text.replace("'", "''") + "'" for text in texts) + ")"


chat = (
    opened.where(is_chat)
    .withColumn("words", F.expr(r"regexp_extract_all(lower(said), '[\\p{L}\\p{M}\\p{N}_\']+', 0)"))
    .withColumn("good", F.expr(f"size(filter(words, w -> w in {among(lexicon['positive'])}))"))
    .withColumn("bad", F.expr(f"size(filter(words, w -> w in {among(lexicon['negative'])}))"))
    .withColumn("mood", F.expr("if(good + bad = 0, 0d, (good - bad) / cast(good + bad as double))"))
    .withColumn("used", F.expr(f"coalesce(emotes, filter(split(said, ' '), w -> w in {among(emotes)}))"))
)
key = ["stream_id", "win"]
talk = chat.groupBy(key).agg(
    F.count("*").alias("chat_count"),
    F.count_distinct("user_id").alias("unique_chatters"),
    F.avg("mood").alias("avg_sentiment"),
    F.count_if(F.expr("mood > 0")).alias("positive_count"),
    F.count_if(F.expr("mood < 0")).alias("negative_count"),
    F.sum(F.size("used")).alias("emotes"),
)
uses = chat.select(*key, F.explode("used").alias("emote")).groupBy(*key, "emote").agg(F.count("*").alias("uses"))
counts = uses.groupBy(key).agg(F.map_from_entries(F.collect_list(F.struct("emote", "uses"))).alias("emote_counts"))
viewers = (
    opened.where(~is_chat)
    .groupBy(key)
    .agg(F.avg("viewer_count").alias("avg_viewers"), F.max("viewer_count").alias("peak_viewers"))
)
summary = (
    talk.join(counts, key, "left")
    .join(viewers, key, "full")
    .withColumn("window_start", F.expr("unix_millis(win.start)"))
    .drop("win")
)


def rows(frame):
    return [json.loads(row) for row in frame.toJSON().collect()]


found = {
    "windows": rows(summary),
    "bad": [row["place"] for row in judged.where("not is_good").select("place").collect()],
    "late": [row["place"] for row in judged.where("is_good").join(opened, "place", "left_anti").select("place").collect()],
    "good": judged.where("is_good").count(),
}
with open(answer, "w") as file:
    json.dump(found, file)
