// Weights into a tile of workgroup memory.

import package::weight::Unit;
import package::weight::f16_weights;

// Weights 4·first and on of a unit, 32 or a whole one: decoders are quick where they know which they are asked for.
fn put_part(place: u32, u: Unit, first: u32) {
    tile_put(place, f16_weights(u, first));
    tile_put(place + 1u, f16_weights(u, first + 1u));
    if (UNIT > 8u) {
        tile_put(place + 2u, f16_weights(u, first + 2u));
        tile_put(place + 3u, f16_weights(u, first + 3u));
        tile_put(place + 4u, f16_weights(u, first + 4u));
        tile_put(place + 5u, f16_weights(u, first + 5u));
        tile_put(place + 6u, f16_weights(u, first + 6u));
        tile_put(place + 7u, f16_weights(u, first + 7u));
    }
}
