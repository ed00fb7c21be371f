"""What operator and teachers have arranged: bookings with their classes, and messages; kept on disk.

Others use `Agenda`, which has `Bookings` and `Messages` of one `State` (`model`). `when` reads the times that people
write, `fit` says whether a booking fits, and `confirm` has on the disk what they are told is arranged. What a booking
holds of a pool's containers is `claims.reserve`'s to say.
"""
