"""The windows bench on Spark: two topics of Kafka -> Structured Streaming -> one row for each window and stream.

usage: spark_windows.py <brokers> <postgres url> <folder of jars> <scratch folder> <folder of the word lists>

Tuned as its users would: distinct chatters are counted approximately (exact counts of a stream are not possible in
windows), the word lists are constants, results are few and written by the driver. The last line on stdout is a JSON object.
"""

import glob
import json
import sys
import time

import psycopg
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

brokers, url, jars, scratch, words = sys.argv[1:]
started = time.time()
lexicon = json.load(open(f"{words}/lexicon.json"))
emotes = json.load(open(f"{words}/emotes.json"))

spark = (
    SparkSession.builder.master("local[2]")
    .appName("windows")
    .config("spark.driver.memory", "4g")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.jars", ",".join(sorted(glob.glob(f"{jars}/*.jar"))))
    .config("spark.ui.enabled", "false")
    .config("spark.local.dir", f"{scratch}/local")
    .config("spark.sql.warehouse.dir", f"{scratch}/warehouse")
    .config("spark.sql.session.timeZone", "UTC")
    # one for each core: the default of 200 is for clusters
    .config("spark.sql.shuffle.partitions", "2")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")
ready = time.time()

with psycopg.connect(url) as connection:
    connection.execute(
        """
        create table chat_summary_spark (
          stream_id text, window_start timestamptz, chat_count bigint, unique_chatters bigint, avg_sentiment float8,
          positive_count bigint, negative_count bigint, emote_counts jsonb, avg_viewers float8, peak_viewers bigint,
          primary key (stream_id, window_start))"""
    )


def topic(name, schema, most):
    source = spark.readStream.format("kafka").option("kafka.bootstrap.servers", brokers).option("subscribe", name)
    rows = source.option("startingOffsets", "earliest").option("maxOffsetsPerTrigger", most).load()
    return rows.select(F.from_json(F.col("value").cast("string"), schema).alias("j")).select("j.*")


def among(texts):
    return "(" + ", ".join("'" + text.replace("'", "''") + "'" for text in texts) + ")"


chat = topic(
    "telemetra.events.chat",
    "stream_id string, user_id string, message string, emotes array<string>, timestamp timestamp",
    500_000,
)
chat = chat.withColumn("words", F.expr("split(message, ' ')")).select(
    "stream_id",
    "user_id",
    "timestamp",
    F.expr(f"size(filter(words, w -> lower(w) in {among(lexicon['positive'])}))").alias("good"),
    F.expr(f"size(filter(words, w -> lower(w) in {among(lexicon['negative'])}))").alias("bad"),
    F.expr(f"coalesce(emotes, filter(words, w -> w in {among(emotes)}))").alias("emotes"),
)
mood = F.expr("case when good + bad = 0 then 0d else (good - bad) / cast(good + bad as double) end")
chat = chat.select(
    "stream_id",
    "user_id",
    "timestamp",
    mood.alias("mood"),
    *[F.expr(f"size(filter(emotes, e -> e = '{emote}'))").alias(f"e_{emote}") for emote in emotes],
)
window = F.window("timestamp", "1 minute", "10 seconds").alias("win")
summary = (
    chat.withWatermark("timestamp", "10 seconds")
    .groupBy(window, "stream_id")
    .agg(
        F.count("*").alias("chat_count"),
        F.approx_count_distinct("user_id").alias("unique_chatters"),
        F.avg("mood").alias("avg_sentiment"),
        F.sum(F.expr("int(mood > 0)")).alias("positive_count"),
        F.sum(F.expr("int(mood < 0)")).alias("negative_count"),
        *[F.sum(f"e_{emote}").alias(f"e_{emote}") for emote in emotes],
    )
    .select(
        "stream_id",
        "win.start",
        "chat_count",
        "unique_chatters",
        "avg_sentiment",
        "positive_count",
        "negative_count",
        F.to_json(F.struct(*[F.col(f"e_{emote}").alias(emote) for emote in emotes])),
    )
)
viewers = (
    topic("telemetra.events.viewer", "stream_id string, viewer_count bigint, timestamp bigint", 60_000)
    # the generator writes these as milliseconds
    .withColumn("timestamp", F.timestamp_millis("timestamp"))
    .withWatermark("timestamp", "10 seconds")
    .groupBy(window, "stream_id")
    .agg(F.avg("viewer_count"), F.max("viewer_count"))
    .select("stream_id", "win.start", "avg(viewer_count)", "max(viewer_count)")
)


def upsert(columns):
    names = ", ".join(["stream_id", "window_start", *columns])
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns)
    values = ", ".join(["%s"] * (len(columns) + 2))
    sql = f"insert into chat_summary_spark ({names}) values ({values}) on conflict (stream_id, window_start) do update set {changes}"

    def write(batch, _):
        # in one order, for two queries write the same rows
        rows = sorted((tuple(row) for row in batch.collect()), key=lambda row: row[:2])
        with psycopg.connect(url) as connection:
            connection.cursor().executemany(sql, rows)

    return write


def run(rows, columns, name):
    stream = rows.writeStream.outputMode("update").foreachBatch(upsert(columns)).trigger(availableNow=True)
    return stream.option("checkpointLocation", f"{scratch}/checkpoint-{name}").start()


chatting = ["chat_count", "unique_chatters", "avg_sentiment", "positive_count", "negative_count", "emote_counts"]
queries = [run(summary, chatting, "chat"), run(viewers, ["avg_viewers", "peak_viewers"], "viewers")]
for query in queries:
    try:
        query.awaitTermination()
    except Exception as error:
        # the plan that follows would push the reason out of sight
        sys.exit(str(error)[:2000])
done = time.time()
print(json.dumps({"seconds": done - ready, "whole": done - started}))
