-- A generation without rows gets all of them from programs of this release, which write version 2. One with rows and without a
-- version here is of version 1: a projector of this release makes it anew.
INSERT INTO generations (projection, generation, version)
    SELECT name, generation, 2 FROM projections
    WHERE NOT EXISTS (SELECT * FROM checkpoints WHERE projection = name AND checkpoints.generation = projections.generation)
    AND NOT EXISTS (
        SELECT * FROM generations AS known WHERE known.projection = name AND known.generation = projections.generation
    )
