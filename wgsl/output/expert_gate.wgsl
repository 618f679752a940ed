// Pairs of gate and up of the experts that a row's route names.

import package::copy::begin_copy;
import package::lib::expert_pairs::begin;
import package::rows::expert::begin_row;
