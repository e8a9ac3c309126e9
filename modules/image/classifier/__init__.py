"""Labels of pictures: a small convolutional network, calibrated, as an energy."""
