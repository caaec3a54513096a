-- A generation of views without rows gets all of them from programs of this release, which write version 3. A release that does not have
-- this version may still write some of them; fed_offset shows it.
UPDATE generations JOIN projections ON name = projection AND projections.generation = generations.generation SET version = 3
    WHERE projection = 'views' AND version = 2 AND NOT EXISTS (
        SELECT * FROM checkpoints WHERE checkpoints.projection = 'views' AND checkpoints.generation = generations.generation
    )
