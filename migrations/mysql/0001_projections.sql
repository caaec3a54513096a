-- Which generation of each projection readers see. A rebuild fills the next one beside it, and moves this pointer.
CREATE TABLE projections (
    name VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    generation INT UNSIGNED NOT NULL
) ENGINE = InnoDB
