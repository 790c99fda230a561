"""Makes event logs with a real Spark: one application for each name, as files of a folder.

usage: make.py <folder> [name...]

Each application is a process of its own, for a Spark writes one log in a process. Nothing in a log depends on the machine
but times, ids and its own settings.
"""

import os
import signal
import subprocess
import sys
import time

local = {"spark.master": "local[2]"}
cluster = {"spark.master": "local-cluster[2,1,1024]", "spark.executor.memory": "512m"}
retrying = {"spark.master": "local[2,4]"}


def plain(spark):
    """Jobs with a description and a group, a shuffle, a stage that is skipped the second time."""
    sc = spark.sparkContext
    sc.setJobGroup("nightly", "counts words", interruptOnCancel=False)
    words = sc.parallelize(["a b", "b c", "c d"] * 200, 4).flatMap(str.split).map(lambda word: (word, 1))
    counts = words.reduceByKey(lambda a, b: a + b, 3)
    counts.count()
    sc.setJobDescription("collects them")
    counts.collect()
    time.sleep(2)
    sc.parallelize(range(100), 2).sum()


def retries(spark):
    """One task in four fails at first and is tried again."""
    from pyspark import TaskContext

    def flaky(part, rows):
        if part % 4 == 1 and TaskContext.get().attemptNumber() < 2:
            raise ValueError(f"the disk of part {part} is away")
        return rows

    spark.sparkContext.parallelize(range(64), 8).mapPartitionsWithIndex(flaky).count()


def failing(spark):
    """A job fails for good, and another one works."""
    sc = spark.sparkContext

    def divide(n):
        return 1 // (n - 5)

    try:
        sc.parallelize(range(10), 3).map(divide).sum()
    except Exception as error:
        print("as it should:", type(error).__name__)
    sc.parallelize(range(10), 3).sum()


def skew(spark):
    """One key has most of the rows."""
    rows = spark.sparkContext.parallelize(range(200_000), 4).map(lambda n: (0 if n % 10 else n % 97, n))
    rows.groupByKey(12).mapValues(lambda values: sum(v * v % 7 for v in values)).count()


def spill(spark):
    """A sort that may keep few rows in memory."""
    rows = spark.range(0, 400_000, 1, 2).selectExpr("uuid() as u", "id").repartition(2)
    rows.sortWithinPartitions("u").write.format("noop").mode("overwrite").save()


def sql(spark):
    """A join, an aggregate, a cached table, a query that fails."""
    spark.range(1000).selectExpr("id", "id % 7 as k").createOrReplaceTempView("facts")
    spark.range(7).selectExpr("id as k", "concat('n', id) as name").createOrReplaceTempView("names")
    spark.sql("select name, count(*) n from facts join names using (k) group by name order by n desc").collect()
    spark.sql("cache table cached as select * from facts where k < 3").collect()
    spark.sql("select count(*) from cached").collect()
    try:
        spark.sql("select assert_true(id < 900) from facts").collect()
    except Exception as error:
        print("as it should:", type(error).__name__)


def streaming(spark):
    """A streaming query of some batches, and one that fails."""
    from pyspark.sql import functions as F

    rows = spark.readStream.format("rate").option("rowsPerSecond", 50).load()
    query = (
        rows.groupBy(F.window("timestamp", "1 second"))
        .count()
        .writeStream.outputMode("complete")
        .format("memory")
        .queryName("per_second")
        .trigger(processingTime="2 seconds")
        .start()
    )
    while len(query.recentProgress) < 4:
        time.sleep(0.1)
    query.stop()
    bad = rows.selectExpr("assert_true(value < 0)").writeStream.format("noop").queryName("bad").start()
    try:
        bad.awaitTermination(20)
    except Exception as error:
        print("as it should:", type(error).__name__)


def lost(spark):
    """An executor is killed while its task runs, with the shuffle files that the next stage wants."""
    sc = spark.sparkContext
    mark = f"{spark.conf.get('spark.local.dir')}/was-killed"
    shuffled = sc.parallelize(range(2000), 6).map(lambda n: (n % 5, n)).groupByKey(4)

    def killing(part, rows):
        rows = list(rows)
        if part == 0 and not os.path.exists(mark):
            open(mark, "w").close()
            time.sleep(1)
            # its parent is the daemon of Python, and the parent of that the executor
            with open(f"/proc/{os.getppid()}/stat") as stat:
                os.kill(int(stat.read().rsplit(")", 1)[1].split()[1]), signal.SIGKILL)
            time.sleep(60)
        time.sleep(0.5)
        return rows

    shuffled.mapPartitionsWithIndex(killing).count()


def killed(spark):
    """The driver is killed while a job runs."""
    sc = spark.sparkContext
    sc.parallelize(range(100), 4).count()
    slow = sc.parallelize(range(4), 4)

    def wait(part, rows):
        time.sleep(1 if part < 2 else 600)
        return rows

    # the listener has a moment, then the machine is gone
    pid = sc._gateway.proc.pid
    subprocess.Popen(["sh", "-c", f"sleep 4; kill -9 {pid} {os.getpid()}"])
    slow.mapPartitionsWithIndex(wait).count()


def rolling(spark):
    """So many small tasks that the log has a second file."""
    for round in range(17):
        spark.range(0, 250, 1, 250).write.format("noop").mode("overwrite").save()


names = {
    "plain": (plain, local, {}),
    "retries": (retries, retrying, {}),
    "failing": (failing, local, {"spark.eventLog.compress": "true", "spark.eventLog.compression.codec": "lz4"}),
    "skew": (skew, local, {"spark.eventLog.compress": "true"}),
    "spill": (spill, local | {"spark.shuffle.spill.numElementsForceSpillThreshold": "50000"}, {"spark.eventLog.compress": "true"}),
    "sql": (sql, local, {"spark.eventLog.compress": "true"}),
    "streaming": (streaming, local, {"spark.eventLog.compress": "true"}),
    "lost": (lost, cluster, {"spark.eventLog.compress": "true"}),
    "killed": (killed, local, {}),
    "rolling": (
        rolling,
        local,
        {
            "spark.eventLog.rolling.enabled": "true",
            "spark.eventLog.rolling.maxFileSize": "10m",
            "spark.eventLog.compress": "true",
        },
    ),
}


def run(name, folder):
    from pyspark.sql import SparkSession

    work, settings, logging = names[name]
    builder = SparkSession.builder.appName(name)
    given = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
        "spark.ui.enabled": "false",
        "spark.local.dir": f"{folder}/scratch",
        "spark.sql.warehouse.dir": f"{folder}/scratch/warehouse",
        "spark.sql.shuffle.partitions": "3",
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": f"file://{folder}",
        "spark.eventLog.rolling.enabled": "false",
        "spark.eventLog.compress": "false",
        **settings,
        **logging,
    }
    for key, value in given.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("FATAL")
    work(spark)
    spark.stop()


if __name__ == "__main__":
    folder, *chosen = sys.argv[1:]
    folder = os.path.abspath(folder)
    if chosen[:1] == ["--here"]:
        run(chosen[1], folder)
    else:
        os.makedirs(f"{folder}/scratch", exist_ok=True)
        for name in chosen or names:
            before = set(os.listdir(folder))
            ended = subprocess.run([sys.executable, __file__, folder, "--here", name]).returncode
            made = ", ".join(sorted(set(os.listdir(folder)) - before))
            print(f"{name}: {made} ({ended})", flush=True)
