"""The flyers bench on Spark: one file of events -> sessions in Parquet, two tables over JDBC.

usage: spark_flyers.py <file> <postgres url> <JDBC driver's jar> <scratch folder> <folder for sessions>

The tables flyer_time_per_user and merchant_flyer_daily are there. The last line on stdout is a JSON object.
"""

import json
import os
import sys
import time

from pyspark.sql import Observation, SparkSession, Window
from pyspark.sql import functions as F

path, url, jar, scratch, folder = sys.argv[1:]
started = time.time()
# one for each core, and more only where a part would be large: the default of 200 is for clusters
parts = max(2, os.path.getsize(path) // (128 << 20))

spark = (
    SparkSession.builder.master("local[2]")
    .appName("flyers")
    .config("spark.driver.memory", "4g")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.jars", jar)
    .config("spark.ui.enabled", "false")
    .config("spark.local.dir", f"{scratch}/local")
    .config("spark.sql.warehouse.dir", f"{scratch}/warehouse")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
    .config("spark.sql.shuffle.partitions", str(parts))
    .config("spark.sql.adaptive.enabled", "true")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")
ready = time.time()

# A typed schema, in which what cannot be parsed is null; such rows are counted and left out.
schema = "timestamp timestamp, user_id string, event string, flyer_id string, merchant_id string"
events = spark.read.parquet(path) if path.endswith(".parquet") else spark.read.schema(schema).option("header", True).csv(path)
flyer_events = F.col("event").isin("flyer_open", "flyer_close")
empty = lambda name: F.coalesce(F.col(name), F.lit("")) == ""
bad = F.col("timestamp").isNull() | empty("user_id") | empty("event") | (flyer_events & empty("flyer_id"))
seen = Observation("seen")
events = events.withColumn("bad", F.coalesce(bad, F.lit(True))).observe(
    seen, F.count(F.lit(1)).alias("rows"), F.count_if(F.col("bad")).alias("bad")
)

max_gap = 24 * 3600 * 1_000_000
line = Window.partitionBy("user_id", "flyer_id").orderBy("us")
judged = (
    events.where(~F.col("bad") & flyer_events)
    .select(
        "user_id",
        "flyer_id",
        F.coalesce("merchant_id", F.lit("")).alias("merchant_id"),
        F.unix_micros("timestamp").alias("us"),
        (F.col("event") == "flyer_open").alias("opens"),
    )
    # by the reader alone: the window is content with that, and the totals of readers need no shuffle of their own
    .repartition(parts, "user_id")
    .select(
        "*",
        F.lead("us").over(line).alias("next_us"),
        F.lead("opens").over(line).alias("next_opens"),
        F.lag("us").over(line).alias("last_us"),
        F.lag("opens").over(line).alias("last_opens"),
    )
    .where(F.col("opens") | ~F.coalesce(F.col("last_opens") & (F.col("us") - F.col("last_us") <= max_gap), F.lit(False)))
    .withColumn(
        "outcome",
        F.when(~F.col("opens"), "orphan")
        .when(F.col("next_us").isNull() | (F.col("next_us") - F.col("us") > max_gap), "expired")
        .when(F.col("next_opens"), "replaced")
        .otherwise("paired"),
    )
)
is_paired = F.col("outcome") == "paired"
sessions = judged.select(
    "user_id",
    "flyer_id",
    "merchant_id",
    F.when(F.col("opens"), F.timestamp_micros("us")).alias("opened_at"),
    F.when(is_paired, F.timestamp_micros("next_us")).when(~F.col("opens"), F.timestamp_micros("us")).alias("closed_at"),
    "outcome",
    F.when(is_paired, F.expr("cast(cast(next_us - us as decimal(18, 0)) / 1000000 as decimal(18, 6))")).alias("seconds"),
)
# Both totals read the sessions back, of which they need some columns. Variants were tried at 100,000 events only, twice, on
# a busy machine, so by processor seconds: this one 35 and 37; with countDistinct, which shuffles twice more, 44 and 41;
# that with the sessions persisted instead of read back 42 and 47, and without the shuffle by reader alone 35 and 42.
# That tells the extremes apart and no more; take them again on a quiet machine before a ratio is quoted.
sessions.write.parquet(folder)
seen_then = time.time()
sessions = spark.read.parquet(folder).withColumn(
    "us", F.when(is_paired, F.unix_micros("closed_at") - F.unix_micros("opened_at"))
)

jdbc = "jdbc:" + url.replace("postgres@", "") + "?reWriteBatchedInserts=true"
options = {"driver": "org.postgresql.Driver", "user": "postgres", "batchsize": "10000", "isolationLevel": "READ_COMMITTED"}

users = (
    sessions.where(is_paired)
    .groupBy("user_id")
    .agg(F.sum("us").alias("total"), F.count(F.lit(1)).alias("sessions"))
    .select("user_id", F.expr("cast(cast(total as decimal(20, 0)) / 1000000 as decimal(38, 6))").alias("total_seconds"), "sessions")
)
users.write.jdbc(jdbc, "flyer_time_per_user", "append", options)
users_then = time.time()

daily = (
    sessions.where(F.col("outcome") != "orphan")
    .groupBy("merchant_id", "flyer_id", F.date_trunc("day", "opened_at").alias("day"))
    .agg(
        F.count(F.lit(1)).alias("opens"),
        F.size(F.collect_set("user_id")).alias("readers"),
        F.count("us").alias("sessions"),
        (F.avg("us") / 60_000_000).alias("mean_minutes"),
        (F.median(F.expr("us div 1000000")) / 60).alias("median_minutes"),
        F.count_if(F.col("outcome") == "expired").alias("expired"),
    )
    .withColumn("expired_share", F.col("expired") / F.col("opens"))
)
daily.write.jdbc(jdbc, "merchant_flyer_daily", "append", options)
ended = time.time()
print(
    json.dumps(
        {
            "version": spark.version,
            "rows": seen.get["rows"],
            "bad": seen.get["bad"],
            "session_seconds": round(ready - started, 3),
            "seconds": round(ended - ready, 3),
            "phases": {
                "sessions": round(seen_then - ready, 3),
                "users": round(users_then - seen_then, 3),
                "merchants": round(ended - users_then, 3),
            },
        }
    ),
    flush=True,
)
spark.stop()
