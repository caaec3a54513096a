-- Projections to which no batch is applied while paused_at is set. Every batch locks its row. A projection without a row is not paused.
CREATE TABLE pauses (
    projection VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    paused_at DATETIME(6) NULL
) ENGINE = InnoDB
